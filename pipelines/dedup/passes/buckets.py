"""From sorted runs to buckets: the documents that share a band key, one range of keys at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.artifacts.formats.arrays import load_array
from pipelines.dedup.index import Unit, key_range, read_run
from pipelines.dedup.passes.components import contract, save_pairs

ROWS_PER_RANGE = 2**23
"""Rows, of one band of one document each, of one range task: about 300 MB including sorting."""


@dataclass(frozen=True)
class JoinRange:
    """Key range `number` of `count`: writes its buckets of two and more documents, at least one of them new.

    buckets/NNNNN.keys.npy (uint64, ascending) and buckets/NNNNN.owners.npy (int64 ordinals, ascending within a key);
    edges/NNNNN.npy (int64 [2, N]): each document in them, ascending, and the smallest that they connect it with.
    `first_new`: smallest ordinal of this corpus; all before belong to earlier ones.
    """

    number: int
    count: int
    first_new: int
    runs: Path
    units: Sequence[Unit]

    def run(self, folder: Path) -> Mapping[str, int]:
        low, high = key_range(self.number, self.count)
        parts = [(unit.first, *read_run(self.runs / f"{unit.number:05d}", low, high)) for unit in self.units]
        keys = np.concatenate([keys for _, keys, _ in parts])
        owners = np.concatenate([owners.astype(np.int64) + first for first, _, owners in parts])
        # Stable: the parts are ascending runs, which are merged, and owners stay in order.
        order = np.argsort(keys, kind="stable")
        keys, owners = keys[order], owners[order]
        starts = bucket_starts(keys)
        sizes = np.diff(starts, append=len(keys))
        shared = (sizes > 1) & (owners[starts + sizes - 1] >= self.first_new)
        rows = np.repeat(shared, sizes)
        (folder / "buckets").mkdir()
        keys, owners = keys[rows], owners[rows]
        save_rows(folder / "buckets" / f"{self.number:05d}", keys, owners)
        starts = bucket_starts(keys)
        firsts = np.repeat(owners[starts], np.diff(starts, append=len(keys)))
        save_pairs(folder, "edges", self.number, np.stack(contract(owners, firsts)))
        return {"rows": int(rows.sum()), "largest_bucket": int(sizes.max(initial=0))}


def num_ranges(num_rows: int) -> int:
    """Range tasks for so many rows."""
    return max(1, -(-num_rows // ROWS_PER_RANGE))


def bucket_starts(keys: np.ndarray) -> np.ndarray:
    """int64: index of the first of each distinct key of the ascending `keys`."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])


def save_rows(stem: Path, keys: np.ndarray, owners: np.ndarray) -> None:
    np.save(stem.with_name(f"{stem.name}.keys.npy"), keys)
    np.save(stem.with_name(f"{stem.name}.owners.npy"), owners)


def load_rows(stem: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys and owners of one range, memory-mapped."""
    keys, owners = (load_array(stem.with_name(f"{stem.name}.{kind}.npy")) for kind in ("keys", "owners"))
    return keys, owners
