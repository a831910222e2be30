"""Main text of 481 annotated web pages: the cascade against resiliparse and trafilatura, by F1 and by speed.

F1 is counted as in trafilatura's own evaluation: over all pages, an annotated segment of the main text is a true
positive if the extracted text contains it and a false negative if not; a segment of boilerplate is a false positive or
a true negative (micro-averaged). Speed is megabytes of HTTP body (decoded from its content encoding, in the page's own
charset) per second of CPU time on one core, decoding and WARC left out.

The cascade's rules were chosen with all pages in sight. The gain on pages that no rule was made for shows in the
difference between the two halves, drawn by the digest of the URL, in the cascade's loss against trafilatura.
"""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import trafilatura
from harness import arguments, interleave, machine, one_core, report

from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.warc.responses import Response, read_responses
from tests.kit.real_data import REAL_DATA

WEB = REAL_DATA / "web"
QUICK_PAGES = 6
"""Every sixth page with `--quick`."""
GOAL = "F1 within 0.01 of trafilatura at >= 4 times its speed"


@dataclass(frozen=True)
class Page:
    """One annotated page: `num_bytes` of body; segments that belong `inside` and `outside` of its main text."""

    url: str
    html: str
    num_bytes: int
    inside: list[str]
    outside: list[str]

    @property
    def half(self) -> int:
        """0 or 1, by the first bit of the digest of the URL."""
        return hashlib.sha256(self.url.encode()).digest()[0] >> 7


@dataclass(frozen=True)
class Quality:
    """Segments found and missed."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return self.true_positives / (self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


CONTENDERS: dict[str, Callable[[str], str]] = {
    "cascade": lambda html: extract(html, "cascade")[0],
    "resiliparse main_content": lambda html: extract(html, "main_content")[0],
    "trafilatura": lambda html: trafilatura.extract(html, include_comments=False) or "",
    "trafilatura fast": lambda html: trafilatura.extract(html, include_comments=False, fast=True) or "",
}


def main() -> None:
    quick = arguments(__doc__ or "").quick
    one_core()
    pages = read_pages(WEB)[:: QUICK_PAGES if quick else 1]
    megabytes = sum(page.num_bytes for page in pages) / 1e6
    print(machine("resiliparse", "trafilatura", "lxml"))
    print(f"{len(pages)} pages, {megabytes:.1f} MB\n")
    texts: dict[str, list[str]] = {}

    def work(name: str) -> Callable[[], None]:
        return lambda: texts.__setitem__(name, [CONTENDERS[name](page.html) for page in pages])

    timings = interleave({name: work(name) for name in CONTENDERS}, repeats=3)
    print(
        "| engine | F1 | precision | recall | F1 first / second half | MB/s | spread |\n|---|---|---|---|---|---|---|"
    )
    for name, timing in timings.items():
        print(_row(name, pages, texts[name], megabytes / timing.median, timing.spread))
    print("\n" + _shares(pages))
    speed = {name: megabytes / timing.median for name, timing in timings.items()}
    ours = speed.pop("cascade")
    f1_lost = quality(pages, texts["trafilatura"]).f1 - quality(pages, texts["cascade"]).f1
    by_half = ", ".join(f"{f1_difference(pages, texts, half):+.4f}" for half in (0, 1))
    times = ours / speed["trafilatura"]
    print(f"\ncascade v trafilatura: F1 {-f1_lost:+.4f} (halves {by_half}), {times:.1f} times its speed")
    report("extraction", ours, speed, "MB/s", times, GOAL)


def read_pages(folder: Path) -> list[Page]:
    """The annotated pages in the WARC files of `folder`."""
    with (folder / "annotations.jsonl").open(encoding="utf-8") as lines:
        notes = {_place(note["url"]): note for note in map(json.loads, lines)}
    responses = (each for path in sorted(folder.glob("*.warc.gz")) for each in read_responses(path))
    return [_page(each, notes[_place(each.url)]) for each in responses if isinstance(each, Response)]


def _page(response: Response, note: dict[str, list[str]]) -> Page:
    html = decode(response.body, response.headers.get("content-type", ""))
    return Page(_place(response.url), html, len(response.body), note["with"], note["without"])


def quality(pages: Iterable[Page], texts: Iterable[str]) -> Quality:
    """Segments of `pages` that `texts` contain."""
    counts: Counter[str] = Counter()
    for page, text in zip(pages, texts, strict=True):
        result = sum(segment in text for segment in page.inside)
        counts["inside"] += result
        counts["missed"] += len(page.inside) - result
        counts["outside"] += sum(segment in text for segment in page.outside)
    return Quality(counts["inside"], counts["outside"], counts["missed"])


def quality_of_half(pages: Iterable[Page], texts: Iterable[str], half: int) -> Quality:
    """As `quality`, of the pages of one half."""
    selected = [(page, text) for page, text in zip(pages, texts, strict=True) if page.half == half]
    return quality(*zip(*selected, strict=True))


def f1_difference(pages: list[Page], texts: Mapping[str, list[str]], half: int) -> float:
    """The gain of the cascade over trafilatura on one half."""
    ours, theirs = (quality_of_half(pages, texts[name], half).f1 for name in ("cascade", "trafilatura"))
    return ours - theirs


def _place(url: str) -> str:
    return url.strip().partition("#")[0]


def _row(name: str, pages: list[Page], texts: list[str], speed: float, deviation: float) -> str:
    whole = quality(pages, texts)
    by_half = " / ".join(f"{quality_of_half(pages, texts, half).f1:.4f}" for half in (0, 1))
    return (
        f"| {name} | {whole.f1:.4f} | {whole.precision:.4f} | {whole.recall:.4f} | {by_half} "
        f"| {speed:.1f} | {deviation:.0%} |"
    )


def _shares(pages: list[Page]) -> str:
    """Which engine the cascade chose, in pages, bytes and time."""
    num_pages, num_bytes, seconds = Counter[str](), Counter[str](), defaultdict[str, float](float)
    for page in pages:
        started = time.process_time()
        engine = extract(page.html, "cascade")[1]
        seconds[engine] += time.process_time() - started
        num_pages[engine] += 1
        num_bytes[engine] += page.num_bytes
    lines = (
        f"| {engine} | {count} ({count / num_pages.total():.1%}) | {num_bytes[engine] / num_bytes.total():.1%} "
        f"| {seconds[engine] / sum(seconds.values()):.1%} |"
        for engine, count in num_pages.most_common()
    )
    return "\n".join(["| engine that the cascade chose | pages | bytes | time |", "|---|---|---|---|", *lines])


if __name__ == "__main__":
    main()
