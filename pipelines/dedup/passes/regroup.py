"""Bring the data of each group together: bucket rows, records, and the shingle sets of texts, each read once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.artifacts.formats.parquet import ParquetFile
from pipelines.dedup.index import RECORD, Unit
from pipelines.dedup.minhash import portions, shingle
from pipelines.dedup.parts import COLUMNS, Part, compared_texts
from pipelines.dedup.passes.buckets import bucket_starts, load_rows, save_rows
from pipelines.dedup.passes.groups import Groups

MEMBER = np.dtype(
    [
        ("group", "u4"),
        ("corpus", "u4"),
        ("fixed", "?"),
        ("ordinal", "i8"),
        ("set_start", "i8"),
        ("set_size", "i8"),
        *RECORD.descr,
    ]
)
"""A document in a bucket: its group, its unit's fields, the offset of its shingle set in the unit's file, its
record."""


@dataclass(frozen=True)
class GatherUnit:
    """The documents of one unit that are in buckets: members/NNNNN.npy (MEMBER, by group), members/NNNNN.words.npy,
    members/NNNNN.sets (uint64 shingle hashes, ascending within a set)."""

    unit: Unit
    ngram: int
    groups: Groups

    def run(self, folder: Path) -> Mapping[str, int]:
        every_record = self.unit.records()
        documents = self.groups.documents(self.unit)
        positions = documents - self.unit.first
        members = np.zeros(len(positions), MEMBER)
        members["group"], members["ordinal"] = self.groups.of(documents), documents
        members["corpus"], members["fixed"] = self.unit.corpus, self.unit.fixed
        for name in RECORD.names or ():
            members[name] = every_record[name][positions]
        (folder / "members").mkdir()
        stem = folder / "members" / f"{self.unit.number:05d}"
        members["set_size"] = write_sets(
            self.unit.documents, members["row"], self.ngram, stem.with_suffix(".sets"), self.unit.part
        )
        members["set_start"] = np.cumsum(members["set_size"]) - members["set_size"]
        order = np.argsort(members["group"], kind="stable")
        np.save(stem.with_suffix(".npy"), members[order])
        np.save(stem.with_suffix(".words.npy"), self.unit.words()[positions[order]])
        return {}


@dataclass(frozen=True)
class RouteRange:
    """The bucket rows of one key range, by group: routed/NNNNN.{keys,owners,groups}.npy."""

    number: int
    rows: Path
    groups: Groups

    def run(self, folder: Path) -> Mapping[str, int]:
        keys, owners = load_rows(self.rows)
        groups = self.groups.of(owners)
        order = np.argsort(groups, kind="stable")
        (folder / "routed").mkdir()
        stem = folder / "routed" / f"{self.number:05d}"
        save_rows(stem, keys[order], owners[order])
        np.save(stem.with_suffix(".groups.npy"), groups[order])
        return {}


def write_sets(documents: Path, rows: np.ndarray, ngram: int, path: Path, part: Part = "text") -> list[int]:
    """Write the shingle sets of the texts in `rows`, ascending, one after the other; returns their sizes."""
    sizes = []
    with path.open("wb") as file:
        for texts in texts_in_rows(documents, rows, part):
            for start, stop in portions(texts):
                shingles = shingle(texts.slice(start, stop - start), ngram)
                for hashes in np.split(shingles.hashes, np.cumsum(shingles.counts)[:-1]):
                    hashes.sort()
                    different = hashes[bucket_starts(hashes)]
                    file.write(different.data)
                    sizes.append(len(different))
    return sizes


def texts_in_rows(documents: Path, rows: np.ndarray, part: Part) -> Iterator[pa.LargeStringArray]:
    """Texts in `rows`, ascending, by row group; row groups that hold none of them are not read."""
    if not len(rows):
        return
    file = ParquetFile(documents)
    first = 0
    for number in range(file.num_row_groups):
        after = first + file.metadata.row_group(number).num_rows
        here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, after)].astype(np.int64) - first
        if len(here):
            texts = file.read_row_group(number, columns=COLUMNS[part]).take(pa.array(here))
            yield compared_texts(texts.combine_chunks().to_batches()[0], part)
        first = after
