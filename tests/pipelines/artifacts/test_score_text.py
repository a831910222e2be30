"""A score has the same format everywhere."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from infra.artifact import Artifact, Manifest
from infra.session import RunResult, StageResult
from pipelines.artifacts.evaluation import Difference, Score, Scores, interval_text, score_text, write_differences
from pipelines.cli.terminal.summary import print_summary
from pipelines.cli.terminal.tables.scores import print_scores
from pipelines.evaluate.measuring import metrics_of
from pipelines.report.sections.models.scores import written
from tests.kit.stages import idle_stage


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (1.23456, "1.235", "+1.235"),
        (-0.0004, "-0.000", "-0.000"),
        (2.0, "2.000", "+2.000"),
        (0.12345, "0.123", "+0.123"),
        (-0.061, "-0.061", "-0.061"),
        (0.0, "0.000", "+0.000"),
    ],
)
def test_scores_have_three_digits_on_the_scale_that_they_are_stored_in(value: float, plain: str, signed: str) -> None:
    assert score_text(value) == plain
    assert score_text(value, sign=True) == signed


def test_one_score_reads_the_same_on_every_surface(tmp_path: Path) -> None:
    """Console of an evaluation, table of a run, page of the report, MLflow, scores.json."""
    result = Score(0.4375, 32, 0.2815, 0.6068, 0.25)
    folder = tmp_path / "store" / "stages" / "evaluate" / "1-aaaaaaaaaaaa"
    folder.mkdir(parents=True)
    Scores("toy", 1, 10, {"piqa/acc": result}).write(folder)
    write_differences({}, folder)
    console, end = (Console(width=200, record=True, file=StringIO()) for _ in range(2))
    print_scores(folder, console)
    stage = idle_stage("evaluate", "1")
    train = idle_stage("train", "1")
    manifest = Manifest(stage.id, "evaluate", "1", stage.key, 1, {}, {}, (), {}, (), 0.0, {})
    artifact = Artifact(folder, manifest)
    stages = {train.id: StageResult(train, "failed", error="no GPU"), stage.id: StageResult(stage, "built", artifact)}
    print_summary(RunResult("toy", "toy-1", tmp_path, stages, 1.0, ""), end)
    read = float(score_text(metrics_of({"piqa/acc": result}, {})["eval/piqa/acc"]))
    stored = json.loads((folder / "scores.json").read_text())["scores"]["piqa/acc"]["value"]
    assert read == 0.438 == float(score_text(stored))
    for surface in (console.export_text(), end.export_text(), written(result)):
        assert "0.438" in surface
        assert "43." not in surface
        assert "%" not in surface.replace("95 %", "")


@pytest.mark.parametrize("low", [None, 0.2])
def test_without_an_interval_it_says_that_units_are_too_few(low: float | None) -> None:
    result = Score(0.5, 3, low, None if low is None else 0.8)
    assert interval_text(result) == ("too few" if low is None else "0.200 to 0.800")
    assert ("too few" in written(result)) == (low is None)
    assert not result.is_above_chance
    assert ("eval/x.ci_low" in metrics_of({"x": result}, {})) == (low is not None)


def test_printed_scores_stand_beside_how_they_were_measured_and_what_was_not(tmp_path: Path) -> None:
    scores = {
        "piqa/acc": Score(0.62, 1838, 0.6, 0.64, 0.5),
        "piqa/gold_bits_per_byte": Score(1.5, 1838, 1.4, 1.6),
    }
    Scores(
        "toy",
        0,
        0,
        scores,
        protocols={"piqa": "0-shot [a], without a chat template"},
        skipped={"race": "race/test.jsonl: missing. Bring it there by hand."},
        notes={"piqa": "2 of 1,838 questions were longer"},
    ).write(tmp_path)
    write_differences({"piqa/acc": Difference(-0.031, -0.05, 0.01, 0.2, None, 1838)}, tmp_path)
    terminal = Console(width=200, record=True, file=StringIO())
    print_scores(tmp_path, terminal)
    shown = " ".join(terminal.export_text().split())
    for part in (
        "piqa/acc 0.620 0.600 to 0.640 1,838 0.500 (above) 0.240 -0.031 (noise)",
        "piqa/gold_bits_per_byte 1.500 1.400 to 1.600 1,838",
        "piqa: 0-shot [a], without a chat template",
        "NOTE piqa: 2 of 1,838 questions were longer",
        "NOT MEASURED race: race/test.jsonl: missing. Bring it there by hand.",
    ):
        assert part in shown
