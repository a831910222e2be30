"""Recall of the cascade on annotated pages: against trafilatura on half of them, and on pages of seven types."""

import gzip
import hashlib
import json
import re
import statistics
from collections import Counter

import pytest

from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.warc.responses import Response, read_responses
from tests.kit.real_data import REAL_DATA

WEB = REAL_DATA / "web"
MAX_F1_LOST = 0.015
WCXB = WEB.parent / "wcxb"
MIN_MEAN_F1 = 0.81
MAX_LOW_SHARE = 40 / 520
LOW_F1 = 0.2


def heldout_pages() -> list[tuple[str, dict]]:
    """(HTML, annotated segments) of the pages whose URL's digest starts with a set bit, in the order of the files."""
    with (WEB / "annotations.jsonl").open(encoding="utf-8") as lines:
        notes = {note["url"].strip().partition("#")[0]: note for note in map(json.loads, lines)}
    result = []
    for path in sorted(WEB.glob("*.warc.gz")):
        for page in read_responses(path):
            assert isinstance(page, Response)
            url = page.url.strip().partition("#")[0]
            if hashlib.sha256(url.encode()).digest()[0] >= 128:
                result.append((decode(page.body, page.headers.get("content-type", "")), notes[url]))
    return result


def f1(notes: list[dict], texts: list[str]) -> float:
    """Of all segments that belong to a text, and those that do not, together."""
    pairs = list(zip(notes, texts, strict=True))
    result = sum(segment in text for note, text in pairs for segment in note["with"])
    wrong = sum(segment in text for note, text in pairs for segment in note["without"])
    expected = sum(len(note["with"]) for note in notes)
    return 2 * result / (expected + result + wrong)


@pytest.mark.skipif(not WEB.is_dir(), reason=f"no annotated pages on this machine: {WEB}")
@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 1])
def test_the_cascade_loses_little_to_trafilatura_on_pages_drawn_by_their_url(every):
    import trafilatura

    pages = heldout_pages()[::every]
    assert len(pages) > 200 // every
    notes = [note for _, note in pages]
    ours = f1(notes, [extract(html, "cascade")[0] for html, _ in pages])
    theirs = f1(notes, [trafilatura.extract(html, include_comments=False) or "" for html, _ in pages])
    assert theirs > 0.9
    assert ours >= theirs - MAX_F1_LOST


def word_f1(text: str, gold: str) -> float:
    """1 for nothing from a page without main content."""
    ours, theirs = (Counter(re.findall(r"\w+", each.lower())) for each in (text, gold))
    if not ours and not theirs:
        return 1.0
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


@pytest.mark.skipif(not WCXB.is_dir(), reason=f"no pages of seven types on this machine: {WCXB}")
@pytest.mark.slow
def test_pages_of_seven_types_come_out_well_and_few_of_them_collapse():
    with gzip.open(WCXB / "gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        golds = [json.loads(line) for line in lines]
    pages = (decode(gzip.decompress((WCXB / "html" / f"{gold['id']}.html.gz").read_bytes()), "") for gold in golds)
    texts = [extract(html, "cascade")[0] for html in pages]
    scores = [word_f1(text, gold["main_content"]) for text, gold in zip(texts, golds, strict=True)]
    assert statistics.mean(scores) >= MIN_MEAN_F1
    assert sum(score < LOW_F1 for score in scores) <= MAX_LOW_SHARE * len(scores)
