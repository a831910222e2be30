"""The drawing shows every stage once, and no fewer and no more edges than the order of work needs."""

from itertools import product

from infra.artifact import Manifest
from pipelines.report.figures.dag import draw, essential_edges, layout


def reach(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All (ancestor, descendant) pairs, by adding paths until nothing is new."""
    result = set(edges)
    while more := {(a, d) for (a, b), (c, d) in product(result, result) if b == c} - result:
        result |= more
    return result


def manifests(small_run) -> list[Manifest]:
    return [artifact.manifest for artifact in small_run.artifacts.values()]


def test_essential_edges_keep_the_order_and_none_can_go(small_run) -> None:
    stages = manifests(small_run)
    every = {(key, manifest.key) for manifest in stages for key in manifest.inputs.values()}
    shown = set(essential_edges(stages))
    assert shown < every
    assert reach(shown) == reach(every)
    for edge in shown:
        assert reach(shown - {edge}) != reach(every)


def test_work_flows_to_the_right_or_down(small_run) -> None:
    stages = manifests(small_run)
    locations = layout(stages)
    assert len(set(locations.values())) == len(stages)
    for start, end in essential_edges(stages):
        assert (locations[start][0], locations[start][1]) < (locations[end][0], locations[end][1])
    assert [locations[stage.key][0] for stage in stages if stage.name == "evaluate"] == [8.0] * 3


def test_drawing_names_every_stage_with_key_and_seconds(small_run) -> None:
    svg = draw(manifests(small_run))
    for stage in manifests(small_run):
        assert f"<title>{stage.id}</title>" in svg
        assert f">{stage.seconds:.1f} s<" in svg
        assert stage.key[:7] in svg
