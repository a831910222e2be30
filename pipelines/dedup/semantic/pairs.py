"""Pairs of near documents among those of one cluster, by exact cosine similarity."""

from collections.abc import Iterator

import numpy as np

from pipelines.dedup.semantic.clusters import NEAREST, SAMPLE_PER_CLUSTER, fit_centers, nearest_centers
from pipelines.dedup.semantic.vectors import blocks, products, squared_lengths

MAX_COMPARED = 2**15
"""Documents that are compared each with each; more are split into clusters of their own."""
SPLIT_DOCUMENTS = 2**13
"""Documents of the clusters that a large one is split into."""
MAX_NEAR = 64
"""Near documents of each that are listed, the best-ranked ones."""
PAIR = np.dtype([("later", "i8"), ("earlier", "i8"), ("cosine", "f8")])
"""A document, one that ranks before it, and their similarity."""


def split(vectors: np.ndarray, ids: np.ndarray) -> Iterator[np.ndarray]:
    """int64 arrays of positions: the rows of int16 `vectors` [N, D], which are in order of rank, in portions of up to
    MAX_COMPARED, in each the order of rank.

    Clusters are split by k-means on the rows with the smallest `ids` (uint64 [N]), so a row may be in several portions.
    Rows that k-means does not separate, so that a part has more than half of them, are split by their rank.
    """
    todo = [np.arange(len(vectors))]
    while todo:
        rows = todo.pop()
        if len(rows) <= MAX_COMPARED:
            yield rows
            continue
        count = -(-len(rows) // SPLIT_DOCUMENTS)
        sample = np.argsort(ids[rows], kind="stable")[: count * SAMPLE_PER_CLUSTER]
        centers = fit_centers(vectors[rows[sample]], count)
        nearest = nearest_centers(vectors[rows], centers, NEAREST)
        parts = [rows[(nearest == center).any(axis=1)] for center in range(count)]
        if max(map(len, parts)) > len(rows) // 2:
            parts = [rows[start : start + MAX_COMPARED] for start in range(0, len(rows), MAX_COMPARED)]
        todo += [part for part in reversed(parts) if len(part)]


def near_pairs(vectors: np.ndarray, num_fixed: int, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 `later`, int64 `earlier`, float64 `cosine`: for each of the int16 `vectors` [N, D] after the first
    `num_fixed`, the first MAX_NEAR before it with a cosine similarity of at least `threshold`."""
    wide = vectors.astype(np.float32)
    squares = squared_lengths(vectors).astype(np.float64)
    # No vector is shorter than the shortest, so smaller products need no exact look.
    least = threshold * squares.min(initial=np.inf) - 1
    parts = []
    for block in blocks(len(vectors) - num_fixed, len(vectors)):
        rows = np.arange(block.start, block.stop) + num_fixed
        similar = products(wide[rows], wide[: rows[-1]])
        row, earlier = np.nonzero((similar >= least) & (np.arange(rows[-1]) < rows[:, None]))
        cosine = similar[row, earlier].astype(np.float64) / np.sqrt(squares[rows[row]] * squares[earlier])
        near = cosine >= threshold
        row, earlier, cosine = row[near], earlier[near], cosine[near]
        first = np.searchsorted(row, row)
        listed = np.arange(len(row)) - first < MAX_NEAR
        parts.append((rows[row[listed]], earlier[listed], cosine[listed]))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    later, earlier, cosine = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return later, earlier, cosine
