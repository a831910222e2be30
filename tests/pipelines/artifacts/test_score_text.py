"""A score reads the same wherever people meet it."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.artifacts.report import Difference, Score, Scores, score_text, score_unit, write_differences
from pipelines.evaluation import print_scores


@pytest.mark.parametrize(
    ("measure", "value", "plain", "signed", "unit"),
    [
        ("bits_per_byte/web", 1.23456, "1.235", "+1.235", ""),
        ("gsm8k/gold_bits_per_byte", -0.0004, "-0.000", "-0.000", ""),
        ("enterprise_bits_per_byte", 2.0, "2.000", "+2.000", ""),
        ("spider/execution_accuracy", 0.12345, "12.3", "+12.3", " %"),
        ("humaneval_plus/pass@1", -0.061, "-6.1", "-6.1", " %"),
        ("enterprise_intelligence", 0.0, "0.0", "+0.0", " %"),
    ],
)
def test_bits_have_three_digits_and_shares_are_per_cent(
    measure: str, value: float, plain: str, signed: str, unit: str
) -> None:
    assert score_text(measure, value) == plain
    assert score_text(measure, value, sign=True) == signed
    assert score_unit(measure) == unit


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
        "piqa/acc 62.0 60.0 to 64.0 1,838 50.0 (above) 24.0 -3.1 (noise)",
        "piqa/gold_bits_per_byte 1.500 1.400 to 1.600 1,838",
        "piqa: 0-shot [a], without a chat template",
        "NOTE piqa: 2 of 1,838 questions were longer",
        "NOT MEASURED race: race/test.jsonl: missing. Bring it there by hand.",
    ):
        assert part in shown
