"""The work of extraction grows with the size of a page and not with its square: counted, not timed."""

import builtins
import sys
from types import FrameType

import pytest

from pipelines.source.web.extraction import dom, markup
from pipelines.source.web.extraction.extract import extract

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
LINK = "<a href='/x'>to the harbour</a>"
NESTED = {
    "suspects": f"<div class='meta'><p>{SENTENCE}{LINK}</p>",
    "boilerplate": f"<div class='share'><p>{SENTENCE}</p>",
    "empty links": f"<div class='widget'><p>{SENTENCE}<a></a></p>",
    "lists": f"<ul class='links'><li>{LINK}",
    "tables": f"<table><tr><td>{SENTENCE}{LINK}",
    "spans": f"<span class='meta'>{SENTENCE}",
    "listings": "<pre><div>a\n\nb</div>",
    "shadows": f"<div><template shadowrootmode='open'><p>{SENTENCE}</p>",
    "gutters": f"<pre>a</pre><div class='gutter'>{SENTENCE}",
}
BESIDE = {
    "hidden blocks": f"<div hidden><p>{SENTENCE}</p></div>",
    "styled blocks": f"<div style='display:none'><p>{SENTENCE}</p></div><p>{SENTENCE}</p>",
    "repetitions": f"<span aria-hidden='true'>{LINK}</span>",
    "dialogs": f"<div id='onetrust-banner-sdk'><nav>{LINK}</nav></div>",
    "readings": "<ruby>a<rt>b</rt></ruby> c ",
    "formulas": "<math alttext='x'><mi>x</mi></math>",
    "listings": "<pre>a\n\n\nb</pre>",
    "rows of a listing": "<pre><div><span class='lineno'>1</span>a</div><div>b</div></pre>",
    "numbers of lines": "<code><span class='ln'>1</span></code>",
    "posts": f"<div class='post'><p>{SENTENCE}</p></div>",
    "suspects": f"<div class='meta'><p>{SENTENCE}{LINK}</p></div>",
    "boilerplate": f"<div class='share'><p>{SENTENCE}</p></div>",
    "lists": f"<ul class='links'><li>{LINK}</li></ul>",
    "tables": f"<table><tr><td>{SENTENCE}{LINK}</td></tr></table>",
}
MAX_CALLS = 15
"""Calls a tag of a large page, of which the small one may be removed at once."""
MAX_READS = 5
"""Times that the text of a page is measured: of all of it, of its surroundings, its main part and what is left. The
small one may lose its lists at once."""
PAGES = [
    *(pytest.param(block, id=f"{name} in each other") for name, block in NESTED.items()),
    *(pytest.param(block, id=f"{name} beside each other") for name, block in BESIDE.items()),
]


def page(block: str, count: int) -> str:
    story = f"<p>{SENTENCE * 3}</p>" * (count // 30)
    return f"<html><body><article>{story}{block * count}</article></body></html>"


def calls(html: str) -> int:
    """Calls of functions and of the DOM's methods while a page is extracted."""
    count = 0

    def told(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(told)
    try:
        extract(html, "cascade")
    finally:
        sys.setprofile(None)
    return count


def characters_read(html: str, monkeypatch) -> int:
    """Characters of all texts that are measured to find boilerplate: each text that is read is measured."""
    count = 0

    def counting(measured: object) -> int:
        nonlocal count
        length = builtins.len(measured)
        count += length if isinstance(measured, str) else 0
        return length

    for module in (dom, markup):
        monkeypatch.setattr(module, "len", counting, raising=False)
    extract(html, "cascade")
    monkeypatch.undo()
    return count


@pytest.mark.parametrize("block", PAGES)
def test_four_times_the_page_takes_four_times_the_work(block, monkeypatch):
    small, large = page(block, 300), page(block, 1200)
    extract(small, "cascade")
    assert calls(large) < max(5 * calls(small), MAX_CALLS * large.count("<"))
    assert characters_read(large, monkeypatch) < max(
        5 * characters_read(small, monkeypatch), MAX_READS * builtins.len(large)
    )


def test_a_page_is_read_a_fixed_number_of_times_however_deep_it_nests(monkeypatch):
    html = page(NESTED["suspects"], 400)
    assert 0 < characters_read(html, monkeypatch) < MAX_READS * builtins.len(html)
