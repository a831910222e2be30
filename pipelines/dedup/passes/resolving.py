"""Keep or remove: the documents of one group of components, taken in order of rank and compared on their text.

A document is removed if a kept document that ranks before it shares a band with it and is near to it. Nothing else
removes one, so a document never depends on those that rank after it, and similarity is not transitive.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifacts.formats.arrays import load_array
from pipelines.dedup.index import first_with_same, rank
from pipelines.dedup.minhash import FIELD_BITS, bucket_keys
from pipelines.dedup.options import DedupOptions
from pipelines.dedup.passes.buckets import load_rows

MARGIN = 5.0
"""Standard errors below the threshold that a signature's estimate may be for the texts to be compared: fewer than one
pair in a million of those exactly at the threshold is passed over."""
OVERFLOW_ROWS = 2
"""Rows of the next band in the second signature, which splits a bucket that is full: two documents with J = 0.8 agree
in it with chance 0.64, unlike ones with 2^-16."""
NEVER = 2.0
"""A limit that no share reaches."""

VERDICT = np.dtype(
    [
        ("ordinal", "i8"),
        ("kept", "i8"),
        ("kept_id", "u8", 2),
        ("size", "u4"),
        ("exact", "?"),
        ("jaccard", "f8"),
        ("containment", "f8"),
        ("shared_bands", "i4"),
    ]
)
"""The decision on one new document: `kept` and `kept_id` name its representative, itself if it is kept; `size`: members
of the cluster; evidence as in DECISIONS, NaN and 0 if it is kept."""


@dataclass(frozen=True)
class ResolveGroup:
    """Group `number` of components; writes verdicts/NNNNN.npy, by ordinal."""

    number: int
    options: DedupOptions
    members: Sequence[Path]
    ranges: Sequence[Path]

    def run(self, folder: Path) -> Mapping[str, int]:
        members, words, origins = self._load_members()
        order = rank(members["corpus"], members["quality"], members["length"], members["doc_id"])
        members, words, origins = members[order], words[order], origins[order]
        representatives, shared, compared, rejected = self._resolve(members, words, origins, folder)
        (folder / "verdicts").mkdir()
        np.save(folder / "verdicts" / f"{self.number:05d}.npy", _verdicts(members, representatives, shared))
        return {"compared": compared, "rejected": rejected}

    def _load_members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members and band words of this group, with the number of the file that each comes from."""
        members, words, origins = [], [], []
        for number, stem in enumerate(self.members):
            everyone = load_array(stem.with_suffix(".npy"))
            start, stop = np.searchsorted(everyone["group"], [self.number, self.number + 1])
            members.append(everyone[start:stop])
            words.append(load_array(stem.with_suffix(".words.npy"))[start:stop])
            origins.append(np.full(stop - start, number))
        return np.concatenate(members), np.concatenate(words), np.concatenate(origins)

    def _load_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Bucket keys and ordinals of their documents."""
        parts = []
        for stem in self.ranges:
            groups = load_array(stem.with_suffix(".groups.npy"))
            start, stop = np.searchsorted(groups, [self.number, self.number + 1])
            parts.append([column[start:stop] for column in load_rows(stem)])
        keys, owners = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return keys, owners

    def _resolve(
        self, members: np.ndarray, words: np.ndarray, origins: np.ndarray, folder: Path
    ) -> tuple[np.ndarray, np.ndarray, int, int]:
        """int64 `kept` by rank, int32 evidence [members, 3] as in `kernels.resolve`, numbers of pairs."""
        from pipelines.dedup.kernels import resolve

        best = first_with_same(members["digest"])
        alone = np.flatnonzero(best == np.arange(len(best)))
        position = np.full(len(best), -1)
        position[alone] = np.arange(len(alone))
        representatives, shared = np.empty(len(alone), np.int64), np.zeros((len(alone), 3), np.int32)
        rows = self._rows_by_rank(members, position, words)
        set_starts = np.append(0, np.cumsum(members["set_size"][alone]))
        with tempfile.TemporaryFile(dir=folder) as file:
            sets = self._load_sets(members[alone], origins[alone], file)
            compared, rejected = resolve(
                members["fixed"][alone],
                *rows,
                words[alone],
                self.options.rows_per_band,
                min_equal_fields(self.options),
                set_starts,
                sets,
                np.array([self.options.jaccard_threshold, _containment_limit(self.options)]),
                np.empty(rows[-1][-1], np.int64),
                np.zeros(len(rows[-1]) - 1, np.int64),
                np.full(len(alone), -1),
                representatives,
                shared,
            )
        everyone = position[best]
        evidence = shared[everyone]
        copies = (best != np.arange(len(best))) & (representatives[everyone] == everyone)
        size = members["set_size"]
        evidence[copies] = np.stack([size, size, np.full_like(size, self.options.num_bands)], axis=1)[copies]
        return alone[representatives[everyone]], evidence, int(compared), int(rejected)

    def _rows_by_rank(self, members: np.ndarray, position: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, ...]:
        """Row starts, buckets, overflows and room of each bucket, as `kernels.resolve` takes them."""
        keys, owners = self._load_rows()
        by_ordinal = np.argsort(members["ordinal"])
        owner = by_ordinal[np.searchsorted(members["ordinal"], owners, sorter=by_ordinal)]
        keys, owner = keys[position[owner] >= 0], owner[position[owner] >= 0]
        _, buckets, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        overflows = np.full(len(keys), -1, np.int64)
        large = np.flatnonzero(sizes[buckets] > self.options.max_bucket)
        second = np.stack(
            [buckets[large].astype(np.uint64), _second_signature(keys[large], words[owner[large]])], axis=1
        )
        _, split, split_sizes = np.unique(second, axis=0, return_inverse=True, return_counts=True)
        overflows[large] = len(sizes) + split.reshape(-1)
        room = np.minimum(np.concatenate([sizes, split_sizes]), self.options.max_bucket)
        order = np.lexsort((buckets, position[owner]))
        counts = np.bincount(position[owner], minlength=int((position >= 0).sum()))
        return (
            np.append(0, np.cumsum(counts)),
            buckets[order].astype(np.int64),
            overflows[order],
            np.append(0, np.cumsum(room)),
        )

    def _load_sets(self, members: np.ndarray, origins: np.ndarray, file: Any) -> np.ndarray:
        """Shingle sets in order of rank, in a file that the system may page out: one component may be large."""
        sets = np.asarray(np.memmap(file, np.uint64, "w+", shape=max(1, int(members["set_size"].sum()))))
        starts = np.cumsum(members["set_size"]) - members["set_size"]
        for number in np.unique(origins):
            stored = np.asarray(np.memmap(self.members[number].with_suffix(".sets"), np.uint64, "r"))
            for document in np.flatnonzero(origins == number):
                source, size = members["set_start"][document], members["set_size"][document]
                sets[starts[document] : starts[document] + size] = stored[source : source + size]
        return sets


def min_equal_fields(options: DedupOptions) -> int:
    """Signature fields in which two documents must agree to be compared on text."""
    if options.containment_threshold is not None:
        return 0
    fields = options.num_bands * options.rows_per_band
    chance = 2.0 ** -min(64 // options.rows_per_band, FIELD_BITS)
    expected = options.jaccard_threshold + (1 - options.jaccard_threshold) * chance
    return max(0, ceil(fields * expected - MARGIN * sqrt(fields * expected * (1 - expected))))


def _containment_limit(options: DedupOptions) -> float:
    return NEVER if options.containment_threshold is None else options.containment_threshold


def _second_signature(keys: np.ndarray, words: np.ndarray) -> np.ndarray:
    """uint64: the first OVERFLOW_ROWS rows of the band after the one that each key belongs to."""
    if not len(keys):
        return np.empty(0, np.uint64)
    num_bands = words.shape[1]
    band = (bucket_keys(words) == keys[:, None]).argmax(axis=1)
    following = np.take_along_axis(words, ((band + 1) % num_bands)[:, None], axis=1)[:, 0]
    return following & np.uint64(2 ** (8 * OVERFLOW_ROWS) - 1)


def _verdicts(members: np.ndarray, representatives: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """VERDICT of the new ones among the members, which are in order of rank as `kept` is."""
    sizes = np.bincount(representatives, members["size"], minlength=len(representatives))
    new = np.flatnonzero(~members["fixed"])
    verdicts = np.zeros(len(new), VERDICT)
    verdicts["ordinal"], verdicts["kept"] = members["ordinal"][new], members["ordinal"][representatives[new]]
    verdicts["kept_id"] = members["doc_id"][representatives[new]]
    verdicts["size"] = sizes[representatives[new]]
    removed = representatives[new] != new
    verdicts["exact"] = removed & (members["digest"][new] == members["digest"][representatives[new]]).all(axis=1)
    common, union, bands = shared[new].T
    verdicts["jaccard"] = np.where(removed, common / np.maximum(union, 1), np.nan)
    verdicts["containment"] = np.where(removed, common / members["set_size"][new], np.nan)
    verdicts["shared_bands"] = bands
    return np.sort(verdicts, order="ordinal")
