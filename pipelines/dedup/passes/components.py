"""Which documents can have to do with each other at all: components of the buckets, packed into groups of work.

A component decides nothing. It is closed under "shares a bucket", so that groups of whole components are decided
independently of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.dedup.index import Unit
from pipelines.dedup.passes.buckets import bucket_starts, load_rows

GROUP_BYTES = 2**28
"""Text of the components that are decided together; a larger component stands alone."""
RECORD_BYTES = 512
"""What a document takes besides its text while it is compared."""


@dataclass(frozen=True)
class Groups:
    """Files with the int64 ordinals of all documents in buckets, ascending, and the uint32 group of each."""

    ids: Path
    group_of: Path

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        ids, group_of = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (self.ids, self.group_of))
        return ids, group_of


def group_components(ranges: Sequence[Path], units: Sequence[Unit], folder: Path) -> tuple[Groups, int]:
    """Join buckets to components, pack components into groups; returns the files written and the number of groups.

    Memory: a byte per document and 16 per document in a bucket.
    """
    total = units[-1].first + len(units[-1].records())
    ids = _touched(ranges, total)
    roots = components(ids, ranges)
    # A component is named by its smallest member, so the order of groups is the order of ordinals.
    weights = np.bincount(roots, _lengths(ids, units) + RECORD_BYTES, minlength=len(ids))
    before = np.cumsum(weights) - weights
    _, group_of = np.unique((before // GROUP_BYTES)[roots], return_inverse=True)
    groups = Groups(folder / "ids.npy", folder / "group_of.npy")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(groups.ids, ids)
    np.save(groups.group_of, group_of.astype(np.uint32))
    return groups, int(group_of.max(initial=-1)) + 1


def components(ids: np.ndarray, ranges: Sequence[Path]) -> np.ndarray:
    """int [ids]: the place in `ids` of the smallest document connected with each by star edges in the buckets."""
    from pipelines.dedup.kernels import unite

    parent = np.arange(len(ids), dtype=np.uint32 if len(ids) < 2**32 else np.uint64)
    for stem in ranges:
        keys, owners = load_rows(stem)
        starts = bucket_starts(keys)
        positions = np.searchsorted(ids, owners).astype(parent.dtype)
        unite(parent, positions, np.repeat(positions[starts], np.diff(starts, append=len(keys))))
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    return parent


def _touched(ranges: Sequence[Path], total: int) -> np.ndarray:
    """int64: ordinals that stand in any bucket, ascending."""
    touched = np.zeros(total, bool)
    for stem in ranges:
        touched[load_rows(stem)[1]] = True
    return np.flatnonzero(touched)


def _lengths(ids: np.ndarray, units: Sequence[Unit]) -> np.ndarray:
    lengths = np.empty(len(ids), np.int64)
    for unit in units:
        records = unit.records()
        start, stop = np.searchsorted(ids, [unit.first, unit.first + len(records)])
        lengths[start:stop] = records["length"][ids[start:stop] - unit.first]
    return lengths
