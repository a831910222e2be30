"""The report shows each fine-tune next to its start."""

import re
from dataclasses import replace
from typing import Any

from pipelines.artifacts.evaluation import Difference, Score, Scores
from pipelines.report.sections.header import header
from pipelines.report.sections.models.finetune import finetune_section
from pipelines.report.summary.run import FinetuneSummary, read_summary


def test_base_and_instruct_stand_side_by_side_with_what_changed() -> None:
    before = Scores("enterprise", 10, 640, {"text_to_sql/execution_accuracy": score(0.25)})
    after = Scores("instruct", 6, 384, {"text_to_sql/execution_accuracy": score(0.5), "bits_per_byte/sql": score(1.25)})
    changes = {"text_to_sql/execution_accuracy": Difference(0.25, 0.1, 0.4, 0.01, None, 40)}

    page = finetune_section([FinetuneSummary("sft", "full", before, after, changes, 0.25, {})])

    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page)]
    rows = [cells[start : start + 4] for start in range(0, len(cells), 4)]
    assert rows[0] == [["measure"], ["enterprise"], ["instruct", "(sft,", "full)"], ["change"]]
    by_measure = {row[0][-1]: row for row in rows[1:]}
    assert by_measure["execution_accuracy"][1][0] == "0.250"
    assert by_measure["execution_accuracy"][2][0] == "0.500"
    assert by_measure["execution_accuracy"][3][:2] == ["+0.250:", "more"]
    assert by_measure["sql"][1] == ["not", "measured"]
    assert by_measure["tokens"][2] == ["25.0%"]


def score(value: float) -> Score:
    return Score(value, 40, value - 0.1, value + 0.1)


def test_the_header_names_the_best_of_phases_and_fine_tunes(small_run: Any) -> None:
    summary = read_summary("run", small_run.artifacts)
    start = summary.phases[-1].scores
    measure = summary.phases[-1].headlines[0]
    tuned = replace(start, phase="instruct", scores={measure: replace(start.scores[measure], value=0.9)})
    page = header(replace(summary, finetunes=[FinetuneSummary("sft", "full", start, tuned, {}, 1.0, {})]), [])
    assert "0.900" in page and "after fine-tune instruct" in page and "3 phases and 1 fine-tune," in page
    assert "after phase" in header(summary, []) and "fine-tune" not in header(summary, [])
