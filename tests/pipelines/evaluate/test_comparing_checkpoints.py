"""Several checkpoints on the same items: their order, the changes, with one correction, and the mean of the last."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.artifact import Artifact
from infra.context import StageContext
from pipelines.artifacts.comparison import Comparison
from pipelines.artifacts.evaluation import SAMPLES, SAMPLES_FILE, Score, Scores
from pipelines.artifacts.formats.parquet import write_table
from pipelines.evaluate import comparison_stage
from pipelines.evaluate.compare_stage import Evaluated, compare
from pipelines.evaluate.statistics.comparison import difference, holm
from pipelines.evaluate.task import Share
from pipelines.report.evaluation import stage as page_stage
from pipelines.report.evaluation.curves import draw_curves
from tests.kit.stages import committed, idle_stage

ITEMS = 40


def row(task: str, number: int, right: float) -> dict[str, Any]:
    shares = json.dumps({"acc": [right, 1.0], "other": [1.0, 1.0]})
    text = {"prompt": f"Question {number}?\nAnswer:", "gold": "<b>yes</b>", "answer": "no", "verdict": "wrong"}
    row = {"task": task, "item_id": str(number), "cluster": "", "correct": right == 1.0, "shares": shares, **text}
    return row | {"contamination": None, "responses": "[]"}


def evaluated(label: str, tokens: int, num_right: dict[str, int], protocol: str = "0-shot") -> Evaluated:
    """A checkpoint that answers the first `num_right` items of each task."""
    rows = [row(task, number, float(number < right)) for task, right in num_right.items() for number in range(ITEMS)]
    scores = {f"{task}/acc": Score(right / ITEMS, ITEMS, 0.0, 1.0, 0.25) for task, right in num_right.items()}
    scores |= {f"{task}/other": Score(1.0, ITEMS, 0.9, 1.0) for task in num_right}
    headlines = dict.fromkeys(num_right, "acc")
    protocols = dict.fromkeys(num_right, protocol)
    return Evaluated(label, Scores(label, 1, tokens, scores, headlines, protocols, active_parameters=1000), rows)


FIRST, SECOND, THIRD, FOURTH = (
    evaluated("first", 1000, {"piqa": 10, "copa": 20}),
    evaluated("second", 2000, {"piqa": 12, "copa": 20}),
    evaluated("third", 3000, {"piqa": 36, "copa": 21}),
    evaluated("fourth", 4000, {"piqa": 36, "copa": 24}),
)


def test_checkpoints_stand_in_the_order_of_their_tokens_and_changes_are_corrected_for_all_of_them() -> None:
    result = compare([THIRD, FIRST, SECOND])
    assert result.order == ["first", "second", "third"]
    assert result.changes[0] == {}
    values = [{name: change.difference.value for name, change in each.items()} for each in result.changes[1:]]
    assert values == [
        {"piqa/acc": pytest.approx(2 / ITEMS), "copa/acc": 0.0},
        {"piqa/acc": pytest.approx(24 / ITEMS), "copa/acc": pytest.approx(1 / ITEMS)},
    ], "headlines alone"
    right = {name: [Share(float(n < count), 1.0) for n in range(ITEMS)] for name, count in (("old", 12), ("new", 36))}
    alone = difference(right["old"], right["new"], [""] * ITEMS)
    large = result.changes[2]["piqa/acc"]
    assert large.difference == alone
    assert large.adjusted_p == pytest.approx(4 * max(alone.p_value, alone.mcnemar or 0.0)), "the smallest of four"
    assert not large.is_noise
    raw = [max(c.difference.p_value, c.difference.mcnemar or 0.0) for each in result.changes for c in each.values()]
    assert [c.adjusted_p for each in result.changes for c in each.values()] == holm(raw)


def test_the_mean_over_the_last_checkpoints_is_that_of_their_items() -> None:
    result = compare([FIRST, SECOND, THIRD, FOURTH])
    assert result.num_last == 3
    assert result.last_mean["piqa/acc"].value == pytest.approx((12 + 36 + 36) / 3 / ITEMS)
    assert result.last_mean["piqa/acc"].n == ITEMS
    assert result.last_mean["copa/acc"].low < result.last_mean["copa/acc"].value < result.last_mean["copa/acc"].high


def test_what_was_asked_differently_has_no_change_and_no_mean() -> None:
    other = evaluated("other", 5000, {"piqa": 36, "copa": 24}, "5-shot")
    result = compare([THIRD, FOURTH, other])
    assert result.changes[2] == {}
    assert result.asked_otherwise == [{}, {}, {"piqa": "0-shot", "copa": "0-shot"}]
    assert result.last_mean == {}


@pytest.fixture
def evaluations(tmp_path: Path) -> dict[str, Artifact]:
    folders = {}
    for each in (THIRD, FIRST):
        folder = tmp_path / each.label
        (folder / SAMPLES_FILE).parent.mkdir(parents=True)
        write_table(pa.Table.from_pylist(each.rows, schema=SAMPLES), folder / SAMPLES_FILE)
        each.scores.write(folder)
        folders[each.label] = committed(folder)
    return folders


def test_the_stages_write_the_comparison_and_an_offline_page_with_answers_side_by_side(
    evaluations: dict[str, Artifact], tmp_path: Path
) -> None:
    stages = {label: idle_stage("evaluate", label) for label in evaluations}
    comparing = comparison_stage(stages)
    named = {f"evaluation:{label}": artifact for label, artifact in evaluations.items()}
    out = tmp_path / "compare"
    out.mkdir()
    comparing.work(StageContext("compare", out, out, [].append), named)
    expected = compare([THIRD, FIRST])
    assert Comparison.read(out) == expected
    page = tmp_path / "page"
    page.mkdir()
    writing = page_stage("toy", comparing, stages)
    writing.work(StageContext("page", page, page, [].append), {"compare": committed(out), **named})
    html = (page / "report.html").read_text()
    assert sorted(file.name for file in (page / "figures").iterdir()) == ["flops.png", "tokens.png"]
    assert "Of 80 items, third gets 27 right that first gets wrong, and 0 the other way round." in html
    assert "<b>yes</b>" not in html and "&lt;b&gt;yes&lt;/b&gt;" in html
    assert "+0.650: more than noise" in html
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html


def test_a_figure_has_a_panel_for_each_measure_and_no_empty_one() -> None:
    figures = draw_curves({each.label: each.scores for each in (FIRST, SECOND, THIRD)})
    for drawn in figures.values():
        visible = [axes for axes in drawn.axes if axes.get_visible()]
        assert [axes.get_title() for axes in visible] == ["PIQA\nacc", "COPA\nacc"]
        assert all(axes.has_data() for axes in visible)


def test_checkpoints_of_unknown_training_stand_side_by_side() -> None:
    drawn = draw_curves({name: evaluated(name, 0, {"piqa": 10}).scores for name in ("ours", "theirs")})
    assert list(drawn) == ["scores"]
    assert [label.get_text() for label in drawn["scores"].axes[0].get_xticklabels()] == ["ours", "theirs"]


def test_a_page_about_one_checkpoint_of_unknown_training_shows_its_answers(tmp_path: Path) -> None:
    only = evaluated("theirs", 0, {"piqa": 10})
    folder = tmp_path / "theirs"
    (folder / SAMPLES_FILE).parent.mkdir(parents=True)
    write_table(pa.Table.from_pylist(only.rows, schema=SAMPLES), folder / SAMPLES_FILE)
    only.scores.write(folder)
    (tmp_path / "compare").mkdir()
    compare([only]).write(tmp_path / "compare")
    stages = {"theirs": idle_stage("evaluate", "theirs")}
    (tmp_path / "page").mkdir()
    inputs = {"compare": committed(tmp_path / "compare"), "evaluation:theirs": committed(folder)}
    page_stage("toy", comparison_stage(stages), stages).work(
        StageContext("page", tmp_path / "page", tmp_path / "page", [].append), inputs
    )
    assert "Right and wrong answers of theirs." in (tmp_path / "page" / "report.html").read_text()
    assert not list((tmp_path / "page" / "figures").iterdir()), "one point is no curve"
