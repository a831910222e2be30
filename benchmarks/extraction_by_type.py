"""Main text of pages of seven types: the cascade against resiliparse and trafilatura, by word-level F1 and by speed.

The data is a folder of WCXB (Web Content Extraction Benchmark, M. Murrough-Foley, CC-BY-4.0): `gold.jsonl.gz` with
`id`, `page_type` and `main_content`, and `html/<id>.html.gz`. F1 is that benchmark's own: of the words of the text and
of the gold text, lower-cased, as multisets; the mean over the pages. Speed is millions of characters of HTML per second
of CPU time on one core.

A page is lost if the cascade has less than a tenth of the words that a peer extracts with an F1 above 0.6. Of held-out
pages only the number is printed.

Rules and thresholds of the cascade are chosen on the pages whose id's digest starts with a bit that is not set. The
others are held out: the difference between the halves is their difficulty and the degree to which the rules were
fitted.
"""

import argparse
import gzip
import hashlib
import json
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trafilatura
from harness import interleave, machine, one_core, report

from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import extract
from tests.kit.real_data import REAL_DATA

WCXB = REAL_DATA / "wcxb"
QUICK_PAGES = 6
"""Every sixth page with `--quick`."""
LOW = 0.2
"""F1 below which an extraction has failed."""
MIN_PEER_F1 = 0.6
MIN_COMMON_SHARE = 0.1
"""F1 from which a peer's text is right, and the share of its words below which a page is lost."""
GOAL = "mean F1 >= 0.81, and above trafilatura's; no page lost"
CONTENDERS: dict[str, Callable[[str], str]] = {
    "cascade": lambda html: extract(html, "cascade")[0],
    "resiliparse main_content": lambda html: extract(html, "main_content")[0],
    "trafilatura": lambda html: trafilatura.extract(html, include_comments=False) or "",
}
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Page:
    """A page, its type, and the text that a good extraction gives."""

    page_id: str
    page_type: str
    html: str
    gold: str

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.page_id.encode()).digest()[0] >= 128


def main() -> None:
    pages = chosen_pages(__doc__)
    one_core()
    characters = sum(len(page.html) for page in pages) / 1e6
    print(machine("resiliparse", "trafilatura", "lxml"))
    print(f"{len(pages)} pages, {characters:.1f} million characters\n")
    texts: dict[str, list[str]] = {}

    def work(name: str) -> Callable[[], None]:
        return lambda: texts.__setitem__(name, [CONTENDERS[name](page.html) for page in pages])

    timings = interleave({name: work(name) for name in CONTENDERS}, repeats=3)
    scores = {name: [f1(text, page.gold) for text, page in zip(texts[name], pages, strict=True)] for name in CONTENDERS}
    types = sorted({page.page_type for page in pages})
    print(f"| engine | F1 | developed / held out | below {LOW} | {' | '.join(types)} | Mchar/s |")
    print("|---" * (len(types) + 5) + "|")
    for name, timing in timings.items():
        print(_row(name, pages, scores[name], types, characters / timing.median))
    print(_lost(pages, texts, scores))
    means = {name: statistics.mean(values) for name, values in scores.items()}
    ours = means.pop("cascade")
    report("extraction_by_type", ours, means, "mean F1", ours / means["trafilatura"], GOAL)


def chosen_pages(description: str) -> list[Page]:
    """The pages that the command line of a benchmark selects."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="every sixth page")
    parser.add_argument("--data", type=Path, default=WCXB, help="folder of WCXB")
    options = parser.parse_args()
    return read_pages(options.data)[:: QUICK_PAGES if options.quick else 1]


def read_pages(folder: Path) -> list[Page]:
    """The pages of a folder of WCXB."""
    with gzip.open(folder / "gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        golds = [json.loads(line) for line in lines]
    return [Page(gold["id"], gold["page_type"], _html(folder, gold["id"]), gold["main_content"]) for gold in golds]


def _html(folder: Path, page_id: str) -> str:
    return decode(gzip.decompress((folder / "html" / f"{page_id}.html.gz").read_bytes()), "")


def f1(text: str, gold: str) -> float:
    """Harmonic mean of the shares of words that the two have in common."""
    ours, theirs = (Counter(_WORD.findall(each.lower())) for each in (text, gold))
    if not ours and not theirs:
        return 1.0
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def is_lost(text: str, peer: str, peer_f1: float) -> bool:
    """Whether `text` lacks nearly all of a `peer`'s text, which is right."""
    ours, theirs = (Counter(_WORD.findall(each.lower())) for each in (text, peer))
    return peer_f1 > MIN_PEER_F1 and (ours & theirs).total() < MIN_COMMON_SHARE * theirs.total()


def _lost(pages: Sequence[Page], texts: Mapping[str, Sequence[str]], scores: Mapping[str, Sequence[float]]) -> str:
    peers = [name for name in CONTENDERS if name != "cascade"]
    lost = [
        page
        for number, page in enumerate(pages)
        if any(is_lost(texts["cascade"][number], texts[peer][number], scores[peer][number]) for peer in peers)
    ]
    developed = [page.page_id for page in lost if not page.held_out]
    return f"\nlost: {len(developed)} developed {developed}, {len(lost) - len(developed)} held out"


def _row(name: str, pages: Sequence[Page], scores: Sequence[float], types: Iterable[str], speed: float) -> str:
    pairs = list(zip(scores, pages, strict=True))
    by_type = " | ".join(_mean(score for score, page in pairs if page.page_type == kind) for kind in types)
    halves = " / ".join(_mean(score for score, page in pairs if page.held_out == half) for half in (False, True))
    low = sum(score < LOW for score in scores)
    return f"| {name} | {statistics.mean(scores):.4f} | {halves} | {low} | {by_type} | {speed:.1f} |"


def _mean(scores: Iterable[float]) -> str:
    values = list(scores)
    return f"{statistics.mean(values):.3f}" if values else "-"


if __name__ == "__main__":
    main()
