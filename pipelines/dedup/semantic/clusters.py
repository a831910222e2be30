"""k-means on the sphere, in whole numbers: the same clusters for any order of the documents, on every machine.

Lloyd's algorithm with cosine similarity (Dhillon and Modha 2001): a center is the direction of the sum of its members.
It starts at the documents with the smallest ids, which are digests of their content.
"""

import numpy as np

from pipelines.dedup.semantic.vectors import blocks, directions, products

DOCUMENTS_PER_CLUSTER = 4096
MAX_CLUSTERS = 4096
SAMPLE_PER_CLUSTER = 64
"""Documents per cluster that the centers are fitted to."""
NEAREST = 2
"""Clusters that a document belongs to: a pair is passed over only if its two documents share none."""
MAX_ROUNDS = 20


def num_clusters(num_documents: int) -> int:
    """Clusters of so many documents."""
    return min(MAX_CLUSTERS, max(1, -(-num_documents // DOCUMENTS_PER_CLUSTER)))


def fit_centers(sample: np.ndarray, count: int) -> np.ndarray:
    """int16 [count, D]: centers of a sample of directions, int16 [N, D], N at least `count`. The first of the sample
    are the first centers."""
    centers = sample[:count]
    if not count:
        return centers
    members = np.empty(0)
    for _ in range(MAX_ROUNDS):
        before, members = members, nearest_centers(sample, centers, 1)[:, 0]
        if np.array_equal(before, members):
            break
        order = np.argsort(members, kind="stable")
        filled, starts = np.unique(members[order], return_index=True)
        centers = centers.copy()
        centers[filled] = directions(np.add.reduceat(sample[order].astype(np.int64), starts, axis=0))
    return centers


def nearest_centers(vectors: np.ndarray, centers: np.ndarray, count: int) -> np.ndarray:
    """uint32 [N, count]: the nearest centers of each vector, the nearest first, of equally near ones the lower."""
    count = min(count, len(centers))
    nearest = np.empty((len(vectors), count), np.uint32)
    wide = centers.astype(np.float32)
    for block in blocks(len(vectors), len(centers)):
        similarity = products(vectors[block].astype(np.float32), wide)
        rows = np.arange(len(similarity))
        for rank in range(count):
            best = similarity.argmax(axis=1)
            nearest[block, rank] = best
            similarity[rows, best] = -np.inf
    return nearest
