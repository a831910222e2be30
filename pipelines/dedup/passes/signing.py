"""The data computed once for each document that passed the filter: its index record, band words and sorted run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import READ_BATCH_ROWS
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.dedup import index
from pipelines.dedup.index import RECORD
from pipelines.dedup.minhash import band_words, portions, shingle, signatures
from pipelines.dedup.options import DedupOptions
from pipelines.dedup.parts import COLUMNS, Part, compared_texts

COPY = np.dtype([("row", "u4"), ("record", "u4"), ("length", "i8")])
"""An exact duplicate inside its shard: its row, the number of its representative's record, bytes of its text."""


@dataclass(frozen=True)
class SignShard:
    """One shard of the corpus, `number` among all units; writes index/, runs/ and copies/ under that number."""

    number: int
    options: DedupOptions
    documents: Path
    filtered: Path
    part: Part = "text"

    def run(self, folder: Path) -> Mapping[str, int]:
        passed = read_table(self.filtered)
        rows = np.flatnonzero(passed["keep"].to_numpy())
        records = np.zeros(len(rows), RECORD)
        records["row"] = rows
        records["size"] = passed["size"].to_numpy()[rows] if "size" in passed.column_names else 1
        records["quality"] = passed["quality"].to_numpy()[rows]
        records["doc_id"] = index.doc_ids(self.documents)[rows]
        words = np.empty((len(rows), self.options.num_bands), np.uint64)
        done = 0
        for texts in _passed_texts(self.documents, passed["keep"].combine_chunks(), self.part):
            part = slice(done, done + len(texts))
            records["length"][part] = pc.binary_length(texts).to_numpy()
            shingles = shingle(texts, self.options.ngram)
            records["digest"][part] = shingles.digests
            signed = signatures(shingles, self.options.num_bands * self.options.rows_per_band, self.options.seed)
            words[part] = band_words(signed, self.options.num_bands)
            done += len(texts)
        if "length" in passed.column_names:
            records["length"] = passed["length"].to_numpy()[rows]
        self._write(folder, records, words)
        return {"documents": len(records), "bytes": int(records["length"].sum())}

    def _write(self, folder: Path, records: np.ndarray, words: np.ndarray) -> None:
        """One record for all documents of a digest, the best of them; the others go to copies/."""
        name = f"{self.number:05d}"
        stands = _best_with_same_digest(records)
        alone = stands == np.arange(len(records))
        copies = np.zeros(int((~alone).sum()), COPY)
        copies["row"], copies["length"] = records["row"][~alone], records["length"][~alone]
        copies["record"] = (np.cumsum(alone) - 1)[stands[~alone]]
        records["size"] = np.bincount(stands, records["size"], minlength=len(records))
        index.save(folder / "index" / name, records[alone], words[alone])
        index.save_run(folder / "runs" / name, words[alone])
        (folder / "copies").mkdir()
        np.save(folder / "copies" / f"{name}.npy", copies)


@dataclass(frozen=True)
class SortIndex:
    """One shard of an earlier corpus: its sorted run again, from its stored band words."""

    number: int
    index: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        words = load_array(self.index.with_name(f"{self.index.name}.words.npy"), mapped=False)
        index.save_run(folder / "runs" / f"{self.number:05d}", words)
        return {"documents": len(words)}


def _passed_texts(documents: Path, keep: pa.BooleanArray, part: Part) -> Iterator[pa.LargeStringArray]:
    """Texts that passed the filter, in order, a portion at a time."""
    row = 0
    for batch in ParquetFile(documents).iter_batches(READ_BATCH_ROWS, columns=COLUMNS[part]):
        texts = compared_texts(batch.filter(keep.slice(row, batch.num_rows)), part)
        row += batch.num_rows
        for start, stop in portions(texts):
            yield texts.slice(start, stop - start)


def _best_with_same_digest(records: np.ndarray) -> np.ndarray:
    """int64: for each record the best-ranked with its digest."""
    order = index.rank(np.zeros(len(records)), records["quality"], records["length"], records["doc_id"])
    best = np.empty(len(records), np.int64)
    best[order] = order[index.first_with_same(records["digest"][order])]
    return best
