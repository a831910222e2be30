"""Passages that repeat those of an earlier kept document: exact runs of words, and lines that many documents have.

    mark      each shard      sorted runs of the keys of its lines and of its runs of words
    match     each key range  runs -> the occurrences that repeat an earlier one
    cut       each shard      its repeated occurrences -> spans next to its decisions

Text is not rewritten: the column `passages` of the decisions holds spans, which readers leave out. Earlier is the order
of shards and of rows in them, among documents that deduplication keeps, so the first occurrence stays.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.artifacts.documents import PASSAGES, READ_BATCH_ROWS, decisions_schema, write_shard
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.artifacts.languages.scripts import IDEOGRAPHS, SYLLABLES
from pipelines.dedup.index import key_range, slice_of_keys
from pipelines.dedup.options import DedupOptions

MIN_LINE_WORDS = 3
"""Words of the shortest line that counts, as of C4's: brackets of code and "Read more" stay."""
LINE, PASSAGE = "line", "passage"
KINDS = (LINE, PASSAGE)
MARK = np.dtype([("document", "u4"), ("start", "u4")])
"""An occurrence: the document by its row in its shard, and the first of its words or characters."""
REPEAT = np.dtype([("shard", "u4"), ("row", "u4"), ("start", "u4"), ("first", "u4", 2), ("documents", "u4")])
"""An occurrence to cut; `first`: shard and row of the document that keeps it; `documents` that have it."""


@dataclass(frozen=True)
class MarkShard:
    """One shard of documents with its decisions; writes the keys of its kept documents, ascending, by kind."""

    number: int
    options: DedupOptions
    documents: Path
    decisions: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        keys: dict[str, list[np.ndarray]] = {kind: [np.empty(0, np.uint64)] for kind in KINDS}
        marks: dict[str, list[np.ndarray]] = {kind: [np.empty(0, MARK)] for kind in KINDS}
        for row, text in _kept_texts(self.documents, self.decisions):
            for kind, units in _units(text, self.options).items():
                keys[kind].append(units.keys)
                marks[kind].append(_marks(row, units.starts if kind == LINE else np.arange(len(units.keys))))
        for kind in KINDS:
            every_key = np.concatenate(keys[kind])
            order = np.argsort(every_key, kind="stable")
            stem = _run(folder, self.number, kind)
            stem.parent.mkdir(parents=True, exist_ok=True)
            np.save(stem.with_name(f"{stem.name}.keys.npy"), every_key[order])
            np.save(stem.with_name(f"{stem.name}.marks.npy"), np.concatenate(marks[kind])[order])
        return {kind: sum(map(len, keys[kind])) for kind in KINDS}


@dataclass(frozen=True)
class MatchRange:
    """Key range `number` of `count`; writes REPEAT by shard, in order, by kind."""

    number: int
    count: int
    options: DedupOptions
    runs: Path
    num_shards: int

    def run(self, folder: Path) -> Mapping[str, int]:
        (folder / "repeats").mkdir()
        counts = {}
        for kind in KINDS:
            repeats = self._repeats(kind)
            np.save(_repeats(folder, self.number, kind), repeats[np.argsort(repeats["shard"], kind="stable")])
            counts[kind] = len(repeats)
        return counts

    def _repeats(self, kind: str) -> np.ndarray:
        low, high = key_range(self.number, self.count)
        parts = [_read_run(_run(self.runs, shard, kind), low, high) for shard in range(self.num_shards)]
        keys = np.concatenate([keys for keys, _ in parts])
        marks = np.concatenate([marks for _, marks in parts])
        shards = np.repeat(np.arange(self.num_shards, dtype=np.uint32), [len(part) for part, _ in parts])
        order = np.argsort(keys, kind="stable")
        keys, marks, shards = keys[order], marks[order], shards[order]
        begins = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
        starts = np.flatnonzero(begins)
        sizes = np.diff(starts, append=len(keys))
        first = np.repeat(starts, sizes)
        is_new = begins | (shards != np.roll(shards, 1)) | (marks["document"] != np.roll(marks["document"], 1))
        documents = np.repeat(np.add.reduceat(is_new, starts), sizes) if len(keys) else np.empty(0, np.int64)
        is_own = (shards == shards[first]) & (marks["document"] == marks["document"][first])
        if kind == LINE:
            cut = ~is_own & (documents > (self.options.max_line_documents or 0))
        else:
            # Inside a document, a run of words repeats another only if the two do not overlap.
            distance = marks["start"].astype(np.int64) - marks["start"][first]
            cut = ~is_own | (distance >= (self.options.min_passage_words or 1))
        cut &= np.repeat(sizes, sizes) > 1
        repeats = np.empty(int(cut.sum()), REPEAT)
        repeats["shard"], repeats["row"], repeats["start"] = shards[cut], marks["document"][cut], marks["start"][cut]
        repeats["first"] = np.stack([shards[first][cut], marks["document"][first][cut]], axis=1)
        repeats["documents"] = documents[cut]
        return repeats


@dataclass(frozen=True)
class CutShard:
    """One shard; writes decisions/NNNNN.parquet with the spans of its documents."""

    number: int
    options: DedupOptions
    documents: Sequence[Path]
    decisions: Sequence[Path]
    matched: Path
    num_ranges: int

    def run(self, folder: Path) -> Mapping[str, int]:
        decisions = read_table(self.decisions[self.number])
        cuts: list[list[Span]] = [[] for _ in range(decisions.num_rows)]
        repeats = {kind: self._repeats(kind) for kind in KINDS}
        cut_rows = {int(row) for each in repeats.values() for row in np.unique(each["row"])}
        ids = _FirstIds(self.documents)
        for row, text in _kept_texts(self.documents[self.number], self.decisions[self.number], cut_rows):
            spans: list[Span] = []
            for kind, units in _units(text, self.options).items():
                each = repeats[kind]
                low, high = np.searchsorted(each["row"], [row, row + 1])
                spans += _spans(kind, units, each[low:high], self.options)
            cuts[row] = [_widened(text, span) for span in _merged(spans)]
        column = [[span.row(ids) for span in _merged(spans)] for spans in cuts]
        table = decisions.append_column(PASSAGES, pa.array(column, PASSAGES.type))
        write_shard(table.cast(decisions_schema(*table.column_names)), folder / "decisions", self.number)
        return _counts(column)

    def _repeats(self, kind: str) -> np.ndarray:
        """REPEAT of this shard by row and start."""
        parts = []
        for number in range(self.num_ranges):
            every = load_array(_repeats(self.matched, number, kind))
            low, high = np.searchsorted(every["shard"], [self.number, self.number + 1])
            parts.append(np.array(every[low:high]))
        repeats = np.concatenate(parts)
        return repeats[np.lexsort((repeats["start"], repeats["row"]))]


@dataclass(frozen=True)
class Units:
    """Lines of a text, or runs of its words: uint64 `keys`, equal if they are; first and last characters, the last not
    included."""

    keys: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Span:
    """Characters to leave out, the document that keeps them (shard and row), and how many documents have them."""

    start: int
    end: int
    kind: str
    first: tuple[int, int]
    documents: int

    def row(self, ids: "_FirstIds") -> Mapping[str, Any]:
        """A row of the column `passages`."""
        return {
            "start": self.start,
            "end": self.end,
            "kind": self.kind,
            "kept_id": ids[self.first],
            "documents": self.documents,
        }


class _FirstIds:
    """Ids of documents by shard and row; the ids of a shard are read when one is asked for."""

    def __init__(self, documents: Sequence[Path]) -> None:
        self._documents = documents
        self._ids: dict[int, pa.ChunkedArray] = {}

    def __getitem__(self, place: tuple[int, int]) -> str:
        shard, row = place
        if shard not in self._ids:
            self._ids[shard] = read_table(self._documents[shard], columns=["doc_id"])["doc_id"]
        return str(self._ids[shard][row])


def _units(text: str, options: DedupOptions) -> dict[str, Units]:
    """Lines and runs of words of a text, as far as `options` asks for them."""
    # Imported here: numba takes longer to import than most commands take to run.
    from pipelines.dedup.passages.kernels import line_keys, run_keys, word_keys

    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
    keys, starts, ends = word_keys(codes, _kinds())
    units = {}
    if options.max_line_documents is not None:
        units[LINE] = Units(*line_keys(codes, _kinds(), keys, starts, ends, MIN_LINE_WORDS))
    if options.min_passage_words is not None:
        units[PASSAGE] = Units(run_keys(keys, options.min_passage_words), starts, ends)
    return units


def _spans(kind: str, units: Units, repeats: np.ndarray, options: DedupOptions) -> Iterator[Span]:
    """Spans of the repeats of one document, by start; runs of words that overlap or touch are one."""
    if kind == LINE:
        starts = repeats["start"].astype(np.int64)
        ends = units.ends[np.searchsorted(units.starts, starts)]
    else:
        starts = units.starts[repeats["start"]]
        ends = units.ends[repeats["start"] + np.uint32((options.min_passage_words or 1) - 1)]
    begins = np.flatnonzero(np.append(True, starts[1:] > ends[:-1])[: len(starts)])
    lasts = np.append(begins, len(starts))[1:] - 1
    for begin, last in zip(begins.tolist(), lasts.tolist(), strict=True):
        shard, row = repeats["first"][begin].tolist()
        yield Span(int(starts[begin]), int(ends[last]), kind, (shard, row), int(repeats["documents"][begin]))


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, none touching another; one of several is named as the first of them."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end, span.kind)):
        if merged and span.start <= merged[-1].end:
            last = merged[-1]
            merged[-1] = Span(last.start, max(last.end, span.end), last.kind, last.first, last.documents)
        else:
            merged.append(span)
    return merged


def _widened(text: str, span: Span) -> Span:
    """A span with the blanks after it, and with the end of its line if nothing else is on it."""
    start, end = span.start, span.end
    while end < len(text) and text[end] != "\n" and text[end].isspace():
        end += 1
    line_start = text.rfind("\n", 0, start) + 1
    if not text[line_start:start].strip() and text[end : end + 1] == "\n":
        start, end = line_start, end + 1
    return Span(start, end, span.kind, span.first, span.documents)


def _kept_texts(documents: Path, decisions: Path, rows: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Row and text of the kept documents of a shard, of those among `rows` alone if there are any."""
    keep = read_table(decisions, columns=["keep"])["keep"].to_numpy()
    row = 0
    for batch in ParquetFile(documents).iter_batches(READ_BATCH_ROWS, columns=["text"]):
        for text in batch["text"]:
            if keep[row] and (rows is None or row in rows):
                yield row, text.as_py()
            row += 1


def _marks(row: int, starts: np.ndarray) -> np.ndarray:
    marks = np.empty(len(starts), MARK)
    marks["document"], marks["start"] = row, starts
    return marks


def _counts(column: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    spans = [span for spans in column for span in spans]
    return {
        "documents_cut": sum(map(bool, column)),
        "characters_cut": sum(span["end"] - span["start"] for span in spans),
        **{f"cut_{kind}s": sum(span["kind"] == kind for span in spans) for kind in KINDS},
    }


@cache
def _kinds() -> np.ndarray:
    """uint8 by code point: blank, end of line, or a word by itself."""
    from pipelines.dedup.passages.kernels import ALONE, BLANK, NEWLINE

    table = np.zeros(sys.maxunicode + 1, np.uint8)
    table[[code for code in range(len(table)) if chr(code).isspace()]] = BLANK
    table[ord("\n")] = NEWLINE
    for first, last in (*IDEOGRAPHS, *SYLLABLES):
        table[first : last + 1] = ALONE
    return table


def _run(folder: Path, shard: int, kind: str) -> Path:
    return folder / "runs" / f"{shard:05d}.{kind}"


def _read_run(stem: Path, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    keys, marks = (load_array(stem.with_name(f"{stem.name}.{name}.npy")) for name in ("keys", "marks"))
    in_range = slice_of_keys(keys, low, high)
    return keys[in_range], marks[in_range]


def _repeats(folder: Path, number: int, kind: str) -> Path:
    return folder / "repeats" / f"{number:05d}.{kind}.npy"
