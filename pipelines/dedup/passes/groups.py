"""Whole components packed into groups of work: by the text that they hold, in the order of their smallest document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipelines.dedup.index import Unit
from pipelines.dedup.passes.components import (
    ContractPartition,
    Forest,
    between,
    connect,
    load_pairs,
    partition,
    save_pairs,
)
from pipelines.dedup.tasks import Counts, Passes

GROUP_BYTES = 2**28
"""Text of the components that are decided together; a larger component is a group by itself."""
RECORD_BYTES = 512
"""Memory of a document besides its text while it is compared."""


@dataclass(frozen=True)
class WeighPartition:
    """Bytes of a partition's documents by component: weights/NNNNN.npy, int64 [2, N] of smallest document and bytes."""

    number: int
    forest: Forest
    units: Sequence[Unit]

    def run(self, folder: Path) -> Mapping[str, int]:
        documents, roots = self.forest.part(self.number)
        different, position = np.unique(roots, return_inverse=True)
        weights = np.bincount(position, _lengths(documents, self.units) + RECORD_BYTES, minlength=len(different))
        save_pairs(folder, "weights", self.number, np.stack([different, weights.astype(np.int64)]))
        return {}


@dataclass(frozen=True)
class PackPartition:
    """Components whose smallest document the partition owns, packed: groups/NNNNN.npy, int64 [2, N] of smallest
    document and group, numbered from 0 in each partition."""

    number: int
    forest: Forest
    weights: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        partitions = self.forest.partitions
        low, high = partitions.bounds[self.number : self.number + 2]
        parts = [between(load_pairs(self.weights, "weights", source), low, high) for source in range(len(partitions))]
        smallest, weights = np.concatenate(parts, axis=1)
        roots, position = np.unique(smallest, return_inverse=True)
        totals = np.bincount(position, weights, minlength=len(roots)).astype(np.int64)
        _, groups = np.unique((np.cumsum(totals) - totals) // GROUP_BYTES, return_inverse=True)
        save_pairs(folder, "groups", self.number, np.stack([roots, groups]))
        return {"groups": int(groups.max(initial=-1)) + 1}


@dataclass(frozen=True)
class Groups:
    """The group of every document in a bucket. `first`: number of the first group of each partition."""

    forest: Forest
    folder: Path
    first: tuple[int, ...]

    def of(self, documents: np.ndarray) -> np.ndarray:
        """uint32: the group of each of `documents`, which are all in buckets."""
        different, position = np.unique(self.forest.parents(documents), return_inverse=True)
        groups = np.empty(len(different), np.uint32)
        owners = self.forest.partitions.owner(different)
        for number in np.unique(owners):
            roots, own_groups = load_pairs(self.folder, "groups", int(number))
            own = owners == number
            groups[own] = self.first[number] + own_groups[np.searchsorted(roots, different[own])]
        return groups[position]

    def documents(self, unit: Unit) -> np.ndarray:
        """int64: ordinals of the documents of `unit` that are in buckets, ascending."""
        size = len(unit.records())
        if not size:
            return np.empty(0, np.int64)
        part = self.forest.part(int(self.forest.partitions.owner(np.array([unit.first]))[0]))
        documents: np.ndarray = between(part, unit.first, unit.first + size)[0]
        return documents


def group_components(units: Sequence[Unit], edges: Path, num_sources: int, passes: Passes) -> tuple[Groups, int]:
    """Groups of the whole components of `num_sources` files of edges in a folder, and how many there are."""

    def run_round(number: int, tasks: Sequence[ContractPartition]) -> tuple[Path, Sequence[Counts]]:
        name = f"round-{number}"
        return passes.folder(name), passes.run(name, tasks, f"partitions contracted, round {number + 1}")

    forest = connect(partition(units), edges, num_sources, run_round)
    numbers = range(len(forest.partitions))
    passes.run("weigh", [WeighPartition(number, forest, units) for number in numbers], "partitions weighed")
    pack = [PackPartition(number, forest, passes.folder("weigh")) for number in numbers]
    counts = [each["groups"] for each in passes.run("pack", pack, "partitions packed")]
    first = tuple(accumulate(counts[:-1], initial=0))
    return Groups(forest, passes.folder("pack"), first), sum(counts)


def _lengths(documents: np.ndarray, units: Sequence[Unit]) -> np.ndarray:
    """int64: UTF-8 bytes of each of `documents`, ascending ordinals."""
    lengths = np.empty(len(documents), np.int64)
    for unit in units:
        records = unit.records()
        start, stop = np.searchsorted(documents, [unit.first, unit.first + len(records)])
        lengths[start:stop] = records["length"][documents[start:stop] - unit.first]
    return lengths
