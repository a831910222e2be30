"""From band keys to clusters: pure functions on documents numbered by rank, 0 the best.

Buckets give edges, edges give clusters, and every removal is a comparison of two texts: MinHash with connected
components alone chains documents that have little in common.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MAX_ROUNDS = 8
"""Times that members which turned out to differ from their best are clustered anew among themselves."""

Verify = Callable[[Mapping[int, Sequence[int]]], Mapping[int, float]]
"""From members, by the document that may stand for them, to the Jaccard of those that are near enough."""


@dataclass(frozen=True)
class Clusters:
    """int64 `kept[i]`: the document that stands for i, itself where it is kept; float64 `jaccard[i]`: of the two, NaN
    where i is kept; int64 `exact[i]`: the best document with the same normalised text; numbers of pairs compared."""

    kept: np.ndarray
    jaccard: np.ndarray
    exact: np.ndarray
    num_compared: int
    num_rejected: int

    @property
    def sizes(self) -> np.ndarray:
        """int64: members of the cluster that each document is in."""
        return np.bincount(self.kept, minlength=len(self.kept))[self.kept]


def cluster(digests: np.ndarray, keys: np.ndarray, verify: Verify) -> Clusters:
    """Clusters of documents in order of rank, from uint64 digests [N, 2] and band keys [N, num_bands]."""
    exact = first_with_same(digests)
    everyone = np.arange(len(exact))
    kept, jaccard = exact.copy(), np.where(exact == everyone, np.nan, 1.0)
    pending, compared, rejected = np.flatnonzero(exact == everyone), 0, 0
    for _ in range(MAX_ROUNDS):
        best = pending[components(len(pending), star_edges(keys[pending]))].tolist()
        candidates: defaultdict[int, list[int]] = defaultdict(list)
        for member, stands in zip(pending.tolist(), best, strict=True):
            if member != stands:
                candidates[stands].append(member)
        if not candidates:
            break
        near = verify(candidates)
        for stands, group in candidates.items():
            for member in near.keys() & group:
                kept[member], jaccard[member] = stands, near[member]
        members = sorted(member for group in candidates.values() for member in group)
        pending = np.array([member for member in members if member not in near], dtype=np.int64)
        compared, rejected = compared + len(members), rejected + len(pending)
    copies = exact != everyone
    jaccard[copies] = np.where(kept[exact] == exact, 1.0, jaccard[exact])[copies]
    return Clusters(kept[exact], jaccard, exact, compared, rejected)


def first_with_same(digests: np.ndarray) -> np.ndarray:
    """int64 [N]: the smallest index that has the same row of `digests`."""
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    return first[group.reshape(-1)]


def star_edges(keys: np.ndarray) -> np.ndarray:
    """int64 [edges, 2], each once: every index with the smallest that shares a band key with it."""
    edges = [np.empty((0, 2), dtype=np.int64)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=~band[order[:1]]))
        best = np.repeat(order[starts], np.diff(starts, append=len(order)))
        edges.append(np.stack([order, best], axis=1)[order != best])
    return np.unique(np.concatenate(edges), axis=0)


def components(size: int, edges: np.ndarray) -> np.ndarray:
    """int64 [size]: the smallest index connected with each (union-find with path halving, roots to the smaller)."""
    parent = list(range(size))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in edges.tolist():
        one, other = find(one), find(other)
        parent[max(one, other)] = min(one, other)
    return np.array([find(node) for node in range(size)], dtype=np.int64)
