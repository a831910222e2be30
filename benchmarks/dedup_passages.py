"""Repeated passages and lines on one core: the cost that cutting them adds to deduplication, against the sentence
deduplication of datatrove over lines (three stages), and the words that are cut, against the definition by brute force.

python benchmarks/dedup_passages.py [--quick]
"""

import contextlib
import io
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
from harness import arguments, interleave, machine, one_core, report
from machine_text import machine_texts
from planted import planted, run_stage, write_corpus

from data_recipes.schema import DedupSection

WORDS, DOCUMENTS = 50, 3
SECTION = DedupSection(min_passage_words=WORDS, max_line_documents=DOCUMENTS)
BRUTE_FORCE_DOCUMENTS = 200
GOAL = "every repeated run of 50 words and no other word; at least 10 x datatrove's sentence deduplication"


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        texts = planted(machine_texts(300 if quick else 2000))
        write_corpus(texts, home / "corpus", 4)
        numbers = itertools.count()

        def run(section: DedupSection) -> None:
            work = home / f"{next(numbers)}"
            run_stage(home / "corpus", work, section)
            shutil.rmtree(work)

        def datatrove() -> None:
            work = home / f"{next(numbers)}"
            datatrove_lines(home / "corpus" / "documents", work)
            shutil.rmtree(work)

        contenders = {
            "deduplication": lambda: run(DedupSection()),
            "deduplication with passages": lambda: run(SECTION),
            "datatrove lines": datatrove,
        }
        timings = interleave(contenders, 3 if quick else 5)
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        print(machine("datatrove", "numba", "pyarrow"))
        print(f"{len(texts):,} documents, {megabytes:.1f} MB; CPU seconds on one core, median\n")
        print("| contender | s | MB/s | spread |\n|---|---|---|---|")
        for name, timing in timings.items():
            print(f"| {name} | {timing.median:.2f} | {megabytes / timing.median:.2f} | {timing.spread:.0%} |")
        added = timings["deduplication with passages"].median - timings["deduplication"].median
        print(f"\npassages and lines add {added:.2f} s: {megabytes / added:.1f} MB/s")
        small = planted(machine_texts(BRUTE_FORCE_DOCUMENTS))
        write_corpus(small, home / "small", 3)
        metrics = run_stage(home / "small", home / "judged", SECTION)
        wrong, expected = _wrong_words(home / "small", home / "judged" / "out")
        print(f"{expected:,} words to cut in {len(small):,} documents, {wrong} cut wrongly or not at all")
        print({name: value for name, value in metrics.items() if "cut" in name})
    ratio = timings["datatrove lines"].median / added
    peers = {"datatrove": megabytes / timings["datatrove lines"].median}
    report("dedup_passages", megabytes / added, peers, "MB/s", ratio, GOAL)


def datatrove_lines(documents: Path, folder: Path) -> None:
    """Lines that occur in several documents, removed from all but the first."""
    from datatrove.pipeline.dedup import sentence_dedup
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    sentence_dedup.load_word_tokenizer = lambda language: SimpleNamespace(word_tokenize=str.split)
    config = sentence_dedup.SentDedupConfig(
        n_sentences=1,
        split_sentences=False,
        only_dedup_in_index=False,
        min_doc_words=0,
        min_num_sentences=0,
        hash_config=HashConfig(precision=64, hash_fc="sha1"),
    )

    def read() -> Iterator[Any]:
        return ParquetReader(str(documents), text_key="text", id_key="doc_id").run()

    with contextlib.redirect_stderr(io.StringIO()):
        sentence_dedup.SentenceDedupSignature(str(folder / "signatures"), config=config).run(read())
        finder = sentence_dedup.SentenceFindDedups(str(folder / "signatures"), str(folder / "found"), config=config)
        finder.run(None, 0, 1)
        for _ in sentence_dedup.SentenceDedupFilter(str(folder / "found"), config=config).run(read(), 0, 1):
            pass


def _wrong_words(corpus: Path, out: Path) -> tuple[int, int]:
    """Words whose fate differs from the definition, and words that the definition cuts."""
    texts, spans = [], []
    files = (sorted(path.glob("*")) for path in (corpus / "documents", out / "decisions"))
    for documents, decisions in zip(*files, strict=True):
        keep = pq.read_table(decisions)
        texts += pq.read_table(documents, columns=["text"]).filter(keep["keep"])["text"].to_pylist()
        spans += keep.filter(keep["keep"])["passages"].to_pylist()
    wrong = total = 0
    for text, cut, expected in zip(texts, spans, _defined(texts), strict=True):
        inside = {
            word.start()
            for word in re.finditer(r"\S+", text)
            if any(each["start"] <= word.start() and word.end() <= each["end"] for each in cut)
        }
        wrong += len(inside ^ expected)
        total += len(expected)
    return wrong, total


def _defined(texts: Sequence[str]) -> list[set[int]]:
    """By text, the first characters of the words to cut. Words are split at blanks."""
    cut: list[set[int]] = [set() for _ in texts]
    lines: dict[str, list[tuple[int, list[int]]]] = {}
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    for number, text in enumerate(texts):
        for line in re.finditer(r"[^\n]+", text):
            words = [*re.compile(r"\S+").finditer(text, line.start(), line.end())]
            if len(words) >= 3:
                key = " ".join(word[0] for word in words)
                lines.setdefault(key, []).append((number, [word.start() for word in words]))
        words = [*re.finditer(r"\S+", text)]
        names = [word[0] for word in words]
        for start in range(len(words) - WORDS + 1):
            other, begin = first.setdefault(tuple(names[start : start + WORDS]), (number, start))
            if other != number or start - begin >= WORDS:
                cut[number] |= {word.start() for word in words[start : start + WORDS]}
    for locations in lines.values():
        if len({number for number, _ in locations}) > DOCUMENTS:
            for number, starts in locations:
                cut[number] |= set(starts) if number != locations[0][0] else set()
    return cut


if __name__ == "__main__":
    main()
