"""Published scores are shown next to your own only for the same benchmarks, and are marked as not measured."""

import re
from types import SimpleNamespace

import pytest

from pipelines.artifacts.evaluation import Score
from pipelines.report.evaluation.page import _published
from pipelines.report.figures.published import published_points, published_scores
from pipelines.report.figures.scores import compute_beside_arctic

ENTERPRISE = {"humaneval_plus", "mbpp_plus", "spider", "ifeval"}


def test_only_benchmarks_that_were_asked_as_published_are_shown():
    values = {each.measure.partition(":")[0]: each.value for each in published_scores(ENTERPRISE)}
    assert values == {"coding": 0.643, "SQL": 0.789, "instruction following": 0.524}
    assert published_scores({"spider-base", "humaneval_plus"}) == []


def test_every_number_has_its_source_and_date():
    for each in published_scores(ENTERPRISE | {"gsm8k", "mmlu"}):
        assert each.source and re.fullmatch(r"\d{4}-\d{2}-\d{2}", each.date) and 0 < each.value < 1


def test_the_page_marks_them_as_not_measured():
    scores = SimpleNamespace(scores={"gsm8k/exact_match": None})
    html = str(_published(SimpleNamespace(scores={"one": scores})))
    assert "Not measured here." in html and "0.742" in html and "2024-04-24" in html
    assert _published(SimpleNamespace(scores={"one": SimpleNamespace(scores={"sql/accuracy": None})})) == ""


def test_the_figure_has_the_points_of_the_file():
    [point] = published_points()
    assert point.value == pytest.approx((0.643 + 0.789 + 0.524) / 3)
    score = Score(0.1, 10, 0.05, 0.15)
    scores = SimpleNamespace(active_parameters=10**6, tokens=10**8, scores={"enterprise_intelligence": score})
    [axes] = compute_beside_arctic(SimpleNamespace(phases=[SimpleNamespace(scores=scores)])).axes
    [drawn] = [line for line in axes.lines if line.get_label() == f"{point.model}, as published"]
    assert drawn.get_xydata().tolist() == [[point.compute, point.value]]
