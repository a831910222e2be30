"""The page shows all text of a run, from the web, a model or a recipe, as text."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines.artifacts.evaluation import Difference
from pipelines.report.figures.draw import CAPTIONS, draw_all
from pipelines.report.figures.style import figure_style, inline_svg
from pipelines.report.html.markup import foreign, text
from pipelines.report.page import build
from pipelines.report.summary.exports import ExportSummary
from pipelines.report.summary.run import FinetuneSummary, RunSummary, read_summary

PLANTED = "<img src=x onerror=alert(1)>\"'&amp;"
NAMED_BY_THE_RUN = {
    *("loss_by_corpus", "epochs", "scores", "headlines", "protocols", "skipped", "notes", "contamination"),
    *("differences", "alarms", "domains", "kept_domains", "chosen_again", "languages", "kept_languages", "licences"),
    *("kept_licences", "dropped", "samples", "passed_over", "set_aside", "by_rule", "commits"),
    *("by_kind", "by_domain"),
}
"""Fields whose keys come from the run; those of all others are the page's own words."""


def planted(value: Any, *, keys_too: bool = False) -> Any:
    """`value` with markup behind every text in it, and behind every part of a measure's name."""
    if isinstance(value, str):
        return "/".join(part if part == "clean" else part + PLANTED for part in value.split("/"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: planted(getattr(value, field.name), keys_too=field.name in NAMED_BY_THE_RUN)
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changed)
    if isinstance(value, Mapping):
        pairs = [
            (planted(key) if keys_too else key, item if key == "shares" else planted(item))
            for key, item in value.items()
        ]
        return Counter(dict(pairs)) if isinstance(value, Counter) else dict(pairs)
    return type(value)(map(planted, value)) if isinstance(value, list | tuple) else value


class Elements(HTMLParser):
    """Names of all elements and attributes, and every text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def hostile(small_run: Any) -> RunSummary:
    """A run with fine-tunes and exports whose every text has markup behind it."""
    summary = read_summary("run", small_run.artifacts)
    scores = summary.phases[-1].scores
    changes = {name: Difference(0.1, 0.0, 0.2, 0.03, None, 9) for name in scores.scores}
    tuned = FinetuneSummary("sft", "lora", scores, scores, changes, 0.5, {})
    agreement = {"engine": "vllm", "max_difference": 0.1, "argmax_share": 0.9, "tokens": 9, "mean_kl": 0.1}
    export = ExportSummary("gguf", "train[3]", "gguf", "float16", "../../x", agreement)
    return planted(dataclasses.replace(summary, finetunes=[tuned], exports=[export]))  # type: ignore[no-any-return]


def page_of(summary: RunSummary) -> str:
    with figure_style():
        drawn = draw_all(summary)
        return build(summary, {name: inline_svg(figure, CAPTIONS[name]) for name, figure in drawn.items()})


def test_markup_in_any_text_of_a_run_is_shown_and_makes_no_element(hostile: RunSummary) -> None:
    page = page_of(hostile)
    parsed = Elements(page)
    assert "img" not in parsed.elements
    assert not {name for name in parsed.attributes if name.startswith("on")}
    shown = "".join(parsed.texts)
    for reported in (
        *("run", "python_docs", "general", "min_words", "big.example", "CC0-1.0", "cy", "layer 2: an expert starves"),
        *("race", "0-shot, <greedy>", "error: no such column: nam", "SELECT nam FROM pets", "To open a <jar> of 3"),
        *("sft", "gguf", "truncated <record>: 0 bytes", "3.11.7", "train[3]", "word word"),
    ):
        assert reported in shown
    assert shown.count(PLANTED) > 300


def test_characters_that_html_does_not_allow_are_replaced_and_direction_is_isolated() -> None:
    assert text("a\x00b\x1bc\n") == "a\ufffdb\ufffdc\n"
    assert foreign("pre", "\u202eevil") == '<pre dir="auto">\u202eevil</pre>'
