"""Components in rounds over partitions, against networkx; and the number of rounds on graphs that are hard for them."""

import itertools
import math
import random
import tempfile
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup.passes.components import Forest, Partitions, connect, contract, save_pairs

EDGES = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60)


def run_rounds(bounds: tuple[int, ...], sources: list[list[tuple[int, int]]], home: Path) -> tuple[Forest, int]:
    """The forest, and how many rounds it took; `sources`: the edges that each key range has."""
    for number, edges in enumerate(sources):
        ends = np.array(edges, np.int64).reshape(-1, 2)
        save_pairs(home, "edges", number, np.stack(contract(*ends.T)))
    rounds = itertools.count()

    def run_round(number, tasks):
        assert number == next(rounds)
        folder = home / f"round-{number}"
        folder.mkdir()
        return folder, [task.run(folder) for task in tasks]

    return connect(Partitions(bounds), home, len(sources), run_round), next(rounds)


def smallest_connected(edges: list[tuple[int, int]]) -> dict[int, int]:
    return {node: min(part) for part in networkx.connected_components(networkx.Graph(edges)) for node in part}


@settings(deadline=None, max_examples=40)
@given(st.lists(EDGES, min_size=1, max_size=4), st.sets(st.integers(1, 39), max_size=9))
def test_every_document_is_under_the_smallest_of_its_component(sources, cuts):
    """For any ranges of the edges, and any partitions of the documents, empty ones among them."""
    with tempfile.TemporaryDirectory() as folder:
        forest, _ = run_rounds((0, *sorted(cuts), 40, 40), sources, Path(folder))
        expected = smallest_connected([edge for edges in sources for edge in edges])
        documents = np.array(sorted(expected, key=lambda node: -node), np.int64)
        assert forest.parents(documents).tolist() == [expected[node] for node in documents.tolist()]
        parts = [forest.part(number)[0].tolist() for number in range(len(forest.partitions))]
        assert list(itertools.chain(*parts)) == sorted(expected)


def star_of_the_largest(size: int) -> list[tuple[int, int]]:
    return [(size - 1, leaf) for leaf in range(size - 1)]


def two_chains(size: int) -> list[tuple[int, int]]:
    """Even numbers and odd ones in chains that only their upper ends join."""
    return [(node, node - 2) for node in range(2, size)] + [(size - 1, size - 2)]


def shuffled_path(size: int) -> list[tuple[int, int]]:
    nodes = random.Random(1).sample(range(size), size)
    return list(itertools.pairwise(nodes))


def binary_tree(size: int) -> list[tuple[int, int]]:
    return [(node, (node - 1) // 2) for node in range(1, size)]


def alternating_path(size: int) -> list[tuple[int, int]]:
    """Ends of the order in turns, so that every edge leaves its partition."""
    nodes = [end for pair in zip(range(size // 2), range(size - 1, size // 2 - 1, -1), strict=False) for end in pair]
    return list(itertools.pairwise(nodes))


@pytest.mark.parametrize("graph", [star_of_the_largest, two_chains, shuffled_path, binary_tree, alternating_path])
@pytest.mark.parametrize("partitions", [1, 5, 32])
def test_rounds_grow_with_the_logarithm_of_a_component(graph, partitions, tmp_path):
    """32 partitions of 32 documents: nothing can be contracted before it is sent."""
    size = 32
    edges = graph(size)
    bounds = tuple(size * number // partitions for number in range(partitions + 1))
    forest, rounds = run_rounds(bounds, [edges[start::3] for start in range(3)], tmp_path)
    assert not forest.parents(np.arange(size)).any()
    assert rounds <= (1 if partitions == 1 else 3 + math.log2(size))
