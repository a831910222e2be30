"""Documents that can be duplicates of each other at all: components of the buckets, found in rounds over partitions.

A component decides nothing. It is closed under "shares a bucket", so that whole components are decided independently
of each other.

Every document in a bucket has a parent, never a larger ordinal than its own, and lies in the partition of its ordinal;
edges lie in the partition of their larger end. In each round every partition contracts the graph of its own parents and
edges to stars, each around its smallest member, and passes on the edges between members that other partitions own, both
ends replaced by their parents of the round before. Parents and edges together connect the same documents after each
round. If no edge is left and no parent changes, the parent of every document is the smallest one of its component. This
is the alternation of "large-star" and "small-star" (Kiveris et al., "Connected Components in MapReduce and Beyond",
SoCC 2014) with two changes: partitions contract their own part by union-find before they send anything, and parents are
followed in every round. The memory of a task is that of its partition and of the edges routed to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipelines.artifacts.formats.arrays import load_array
from pipelines.dedup.index import Unit

DOCUMENTS_PER_PARTITION = 2**22
"""Ordinals of one partition, unless a single shard has more."""


@dataclass(frozen=True)
class Partitions:
    """Partition p owns the ordinals `bounds[p]` to below `bounds[p + 1]`: those of whole shards."""

    bounds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def owner(self, ordinals: np.ndarray) -> np.ndarray:
        """int64: the partition of each ordinal."""
        return np.searchsorted(np.array(self.bounds), ordinals, "right") - 1


def partition(units: Sequence[Unit]) -> Partitions:
    """Consecutive shards together while they have no more than DOCUMENTS_PER_PARTITION documents."""
    bounds = [0]
    end = 0
    for unit in units:
        after = unit.first + len(unit.records())
        if end > bounds[-1] and after - bounds[-1] > DOCUMENTS_PER_PARTITION:
            bounds.append(end)
        end = after
    return Partitions((*bounds, end))


@dataclass(frozen=True)
class Forest:
    """The documents in buckets and the parent of each, as a round left them under `folder`."""

    folder: Path
    partitions: Partitions

    def part(self, number: int) -> np.ndarray:
        """int64 [2, N]: documents of one partition, ascending, and their parents."""
        return load_pairs(self.folder, "parents", number)

    def parents(self, documents: np.ndarray) -> np.ndarray:
        """int64: the parent of each of `documents`, which are all in buckets, in any order and of any partition."""
        different, position = np.unique(documents, return_inverse=True)
        parents = np.empty_like(different)
        ends = np.searchsorted(different, self.partitions.bounds)
        for number, (start, stop) in enumerate(pairwise(ends)):
            if start < stop:
                own, own_parents = self.part(number)
                parents[start:stop] = own_parents[np.searchsorted(own, different[start:stop])]
        return parents[position]


@dataclass(frozen=True)
class ContractPartition:
    """One round of one partition: writes parents/NNNNN.npy and edges/NNNNN.npy, and counts open edges.

    `before`: the result of the last round, None in the first. `edges`: the folder of the edges routed here, written by
    `num_sources` tasks. In the first round they name every document in a bucket, alone ones by an edge to themselves.
    """

    number: int
    partitions: Partitions
    before: Forest | None
    edges: Path
    num_sources: int

    def run(self, folder: Path) -> Mapping[str, int]:
        low, high = self.partitions.bounds[self.number : self.number + 2]
        edges = [between(load_pairs(self.edges, "edges", source), low, high) for source in range(self.num_sources)]
        if self.before:
            edges.append(self.before.part(self.number))
        one, other = np.concatenate(edges, axis=1)
        members, roots = contract(one, other, low, high)
        num_foreign = np.searchsorted(members, low)
        documents, parents = members[num_foreign:], roots[num_foreign:]
        links = np.stack([members[:num_foreign], roots[:num_foreign]])
        links = links[:, links[0] != links[1]]
        outside = parents < low
        if self.before:
            links = self.before.parents(links.reshape(-1)).reshape(2, -1)
            parents[outside] = self.before.parents(parents[outside])
            changed = np.count_nonzero(parents != self.before.part(self.number)[1])
        else:
            changed = np.count_nonzero(outside)
        links = _ordered(links)
        save_pairs(folder, "parents", self.number, np.stack([documents, parents]))
        save_pairs(folder, "edges", self.number, links)
        return {"open": links.shape[1] + int(changed)}


def connect(
    partitions: Partitions,
    edges: Path,
    num_sources: int,
    run_round: Callable[[int, Sequence[ContractPartition]], tuple[Path, Sequence[Mapping[str, int]]]],
) -> Forest:
    """Stars around the smallest document of every component.

    Args:
        partitions: Who owns a document.
        edges: Folder of the edges, with every document in a bucket.
        num_sources: Files of edges in it.
        run_round: Runs the tasks of a round, by its number; returns the folder of their files and their counts.
    """
    forest, number = None, 0
    while True:
        tasks = [ContractPartition(p, partitions, forest, edges, num_sources) for p in range(len(partitions))]
        edges, counts = run_round(number, tasks)
        num_sources, forest = len(partitions), Forest(edges, partitions)
        if not any(each["open"] for each in counts):
            return forest
        number += 1


def contract(one: np.ndarray, other: np.ndarray, low: int = 2**63 - 1, high: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N], int64 [N]: the different ends of edges, ascending, and the smallest that each is connected with.

    No end is `high` or above; those from `low` are found by a table in place of sorting.
    """
    from pipelines.dedup.kernels import unite

    ends = np.concatenate([one, other])
    is_low = ends < low
    sorted_ends, in_sorted = np.unique(ends[is_low], return_inverse=True)
    positions = ends - (low - len(sorted_ends))
    positions[is_low] = in_sorted
    members = np.concatenate([sorted_ends, np.arange(low, high)])
    parent = np.arange(len(members))
    unite(parent, positions[: len(one)], positions[len(one) :])
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    is_end = np.zeros(len(members), bool)
    is_end[positions] = True
    return members[is_end], members[parent[is_end]]


def between(pairs: np.ndarray, low: int, high: int) -> np.ndarray:
    """Those of the pairs [2, N], ascending by their first, that begin at `low` to below `high`."""
    start, stop = np.searchsorted(pairs[0], [low, high])
    return pairs[:, start:stop]


def save_pairs(folder: Path, kind: str, number: int, pairs: np.ndarray) -> None:
    """Write int64 [2, N] as `<kind>/NNNNN.npy`."""
    (folder / kind).mkdir(exist_ok=True)
    np.save(folder / kind / f"{number:05d}.npy", pairs)


def load_pairs(folder: Path, kind: str, number: int) -> np.ndarray:
    """int64 [2, N], memory-mapped."""
    pairs: np.ndarray = load_array(folder / kind / f"{number:05d}.npy")
    return pairs


def _ordered(links: np.ndarray) -> np.ndarray:
    """The different pairs of unequal ends, the larger first, ascending."""
    links = np.stack([links.max(axis=0), links.min(axis=0)])
    links = links[:, links[0] != links[1]]
    links = links[:, np.lexsort((links[1], links[0]))]
    repeated = (links[:, 1:] == links[:, :-1]).all(axis=0)
    return links[:, np.append(True, ~repeated)[: links.shape[1]]]
