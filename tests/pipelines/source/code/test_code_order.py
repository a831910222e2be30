"""Imported files first: against networkx, and against the definition."""

import itertools
import random

import networkx as nx
import pytest

from pipelines.source.code.order import import_order


def graph_of(imports: dict[str, set[str]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(imports)
    graph.add_edges_from((imported, path) for path, others in imports.items() for imported in others)
    return graph


def draw(seed: int, files: int, edges: int, cyclic: bool) -> dict[str, set[str]]:
    rng = random.Random(seed)
    names = [f"{rng.choice('abc')}/{number:02}.py" for number in range(files)]
    rng.shuffle(names)
    imports: dict[str, set[str]] = {name: set() for name in names}
    for _ in range(edges):
        first, second = sorted(rng.sample(range(files), 2))
        if cyclic and rng.random() < 0.3:
            first, second = second, first
        imports[names[second]].add(names[first])
    return imports


@pytest.mark.parametrize("seed", range(30))
def test_without_cycles_it_is_the_smallest_topological_order(seed: int) -> None:
    imports = draw(seed, 25, 40, cyclic=False)
    assert import_order(imports) == list(nx.lexicographical_topological_sort(graph_of(imports)))


@pytest.mark.parametrize("seed", range(30))
def test_every_import_precedes_its_importer_unless_both_are_in_one_cycle(seed: int) -> None:
    imports = draw(seed, 25, 40, cyclic=True)
    order = import_order(imports)
    assert sorted(order) == sorted(imports)
    component = {
        path: number
        for number, block in enumerate(nx.strongly_connected_components(graph_of(imports)))
        for path in block
    }
    location = {path: number for number, path in enumerate(order)}
    for path, others in imports.items():
        for imported in others:
            assert location[imported] < location[path] or component[imported] == component[path]
    for number in set(component.values()):
        locations = sorted(location[path] for path in component if component[path] == number)
        assert locations == list(range(locations[0], locations[0] + len(locations))), "a cycle stands together"


@pytest.mark.parametrize("seed", range(10))
def test_the_order_in_which_files_are_found_changes_nothing(seed: int) -> None:
    imports = draw(seed, 25, 40, cyclic=True)
    shuffled = list(imports.items())
    random.Random(seed).shuffle(shuffled)
    assert import_order(dict(shuffled)) == import_order(imports)


def test_a_cycle_is_broken_where_it_waits_least_then_by_path() -> None:
    assert import_order({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "a"]
    assert import_order({"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a"}}) == ["c", "a", "b"]


def test_a_chain_longer_than_the_stack() -> None:
    names = [f"{number:05}" for number in range(20_000)]
    chain = {name: {before} for before, name in itertools.pairwise(names)} | {names[0]: set()}
    assert import_order(dict(reversed(chain.items()))) == names
    ring = {**chain, names[0]: {names[-1]}}
    assert import_order(ring) == names
