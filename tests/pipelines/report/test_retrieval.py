"""Figures of long texts: answers that are found in them, and bits per byte by position."""

from types import SimpleNamespace

import numpy as np

from pipelines.artifacts.checkpoint import WorkerHours
from pipelines.artifacts.evaluation import Score, Scores
from pipelines.report.evaluation.curves import draw_curves
from pipelines.report.evaluation.page import CAPTIONS
from pipelines.report.figures.draw import draw_all
from pipelines.report.figures.retrieval import is_cell, retrieval
from pipelines.report.figures.scores import bits_by_position
from pipelines.report.figures.style import figure_style, write_png
from pipelines.report.sections.models.scores import scores_section
from pipelines.report.summary.run import read_summary

DEPTHS, LENGTHS = (0, 0.25, 0.5, 0.75, 1), (4096, 16_384, 131_072)
VALUES = np.linspace(0, 1, 15).reshape(5, 3)


def score(value: float) -> Score:
    return Score(value, 10, None, None)


SCORES = {
    "long_passkey/accuracy": score(0.5),
    "long_passkey/accuracy/4096": score(0.5),
    **{
        f"long_passkey/accuracy/{length}/{depth:g}": score(float(VALUES[row, column]))
        for row, depth in enumerate(DEPTHS)
        for column, length in enumerate(LENGTHS)
    },
    "long_multi_key/accuracy/4096/0.5": score(0.25),
    "text_to_sql/accuracy/hard": score(0.25),
}


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.images}


def test_every_length_and_depth_has_its_cell_in_the_panel_of_its_task(tmp_path):
    with figure_style():
        figure = retrieval(SCORES)
        write_png(figure, tmp_path / "figure.png")
    drawn = panels(figure)
    assert list(drawn) == ["multi key", "passkey"]
    assert np.array_equal(drawn["passkey"].images[0].get_array(), VALUES)
    assert [label.get_text() for label in drawn["passkey"].get_xticklabels()] == ["4", "16", "128"]
    assert [label.get_text() for label in drawn["passkey"].get_yticklabels()] == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    assert [text.get_text() for text in drawn["multi key"].texts] == ["0.25"]


def test_the_page_of_an_evaluation_shows_the_cells_of_its_last_checkpoint():
    missed = {name: score(0.0) for name in SCORES}
    headlines = {"long_passkey": "accuracy"}
    scores = {
        label: Scores(label, 0, 0, each, headlines=headlines) for label, each in (("first", missed), ("last", SCORES))
    }
    with figure_style():
        assert np.array_equal(panels(draw_curves(scores)["retrieval"])["passkey"].images[0].get_array(), VALUES)
        without = {"only": Scores("only", 0, 0, {"race/acc": score(0.5)}, headlines={"race": "acc"})}
        assert "retrieval" not in draw_curves(without)
    assert draw_curves(scores).keys() <= CAPTIONS.keys()


def test_cells_stand_in_the_figure_and_other_measures_in_the_table():
    assert [name for name in SCORES if not is_cell(name)] == [
        "long_passkey/accuracy",
        "long_passkey/accuracy/4096",
        "text_to_sql/accuracy/hard",
    ]
    scores = Scores("long", 7, 7168, SCORES)
    phase = SimpleNamespace(number=1, scores=scores, differences={}, hours=WorkerHours(1.0, 0.0, 0.0), cost=None)
    page = scores_section(SimpleNamespace(phases=[phase], measures=list(SCORES)), [])
    assert page.count("passkey") == 2


def test_every_corpus_has_its_line_over_positions(tmp_path):
    by_position = {f"bits_per_byte_by_position/web/{end}": score(2.0 - end / 2048) for end in (1024, 256, 512)}
    with figure_style():
        figure = bits_by_position(by_position | {"bits_per_byte_by_position/code/256": score(1.5)} | SCORES)
        write_png(figure, tmp_path / "figure.png")
    lines = [container[0] for container in figure.axes[0].containers]
    assert [line.get_xydata().tolist() for line in lines] == [[[256, 1.5]], [[256, 1.875], [512, 1.75], [1024, 1.5]]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["code", "web"]


def test_only_a_run_that_asks_for_long_texts_has_the_figure(small_run):
    summary = read_summary("run", small_run.artifacts)
    with figure_style():
        assert "retrieval" not in draw_all(summary)
        summary.phases[-1].scores.scores["long_passkey/accuracy/4096/0.5"] = score(0.5)
        assert list(panels(draw_all(summary)["retrieval"])) == ["passkey"]
        assert "bits_by_position" not in draw_all(summary)
        summary.phases[-1].scores.scores["bits_per_byte_by_position/web/256"] = score(1.0)
        assert "bits_by_position" in draw_all(summary)
