"""From kept documents to pairs of near ones: their embeddings, clusters of these, and the pairs in each cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.artifacts.formats.arrays import load_array
from pipelines.dedup import index
from pipelines.dedup.index import Unit, rank
from pipelines.dedup.options import SemanticOptions
from pipelines.dedup.passes.components import contract, save_pairs
from pipelines.dedup.passes.regroup import texts_in_rows
from pipelines.dedup.semantic.clusters import (
    NEAREST,
    SAMPLE_PER_CLUSTER,
    fit_centers,
    nearest_centers,
    num_clusters,
)
from pipelines.dedup.semantic.model import pinned_model
from pipelines.dedup.semantic.pairs import PAIR, near_pairs, split

CLUSTERS_PER_TASK = 8
ASSIGNED_ROWS = 2**16
"""Embeddings that are read at a time."""


@dataclass(frozen=True)
class EmbedShard:
    """One shard of documents of which `before` indexes the kept ones; writes index/ with the records and embeddings of
    those that have one."""

    number: int
    options: SemanticOptions
    documents: Path
    before: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        records, _ = index.load(self.before)
        model = pinned_model(self.options.model, self.options.digest)
        vectors = [np.empty((0, model.width), np.int16)]
        for texts in texts_in_rows(self.documents, records["row"], "text"):
            vectors.append(model.embed(texts.to_pylist()))
        embedded = np.concatenate(vectors)
        known = embedded.any(axis=1)
        index.save(folder / "index" / f"{self.number:05d}", records[known], embedded[known], index.VECTORS)
        return {"embedded": int(known.sum())}


@dataclass(frozen=True)
class FitClusters:
    """Centers of all documents: centers.npy, from a sample that is drawn by the documents' ids."""

    units: Sequence[Unit]

    def run(self, folder: Path) -> Mapping[str, int]:
        total = sum(len(unit.records()) for unit in self.units)
        count = num_clusters(total)
        # Ids are digests, so those below a limit are a random part; twice as many are enough in every case.
        limit = min(1.0, 2 * count * SAMPLE_PER_CLUSTER / max(total, 1)) * 2.0**64
        ids, vectors = [], []
        for unit in self.units:
            own = unit.records()["doc_id"]
            drawn = np.flatnonzero(own[:, 0] < limit)
            ids.append(own[drawn])
            vectors.append(unit.vectors()[drawn])
        sampled = np.concatenate(ids)
        order = np.lexsort((sampled[:, 1], sampled[:, 0]))
        sample = np.concatenate(vectors)[order]
        np.save(folder / "centers.npy", fit_centers(sample, min(count, len(sample))))
        return {"clusters": count}


@dataclass(frozen=True)
class AssignUnit:
    """The clusters of one unit's documents: assigned/NNNNN.clusters.npy (uint32, ascending) and .rows.npy (uint32, of
    their records)."""

    unit: Unit
    centers: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        centers = load_array(self.centers)
        vectors = self.unit.vectors()
        nearest = [np.empty((0, min(NEAREST, len(centers))), np.uint32)]
        for start in range(0, len(vectors), ASSIGNED_ROWS):
            nearest.append(nearest_centers(vectors[start : start + ASSIGNED_ROWS], centers, NEAREST))
        clusters = np.concatenate(nearest)
        order = np.argsort(clusters.reshape(-1), kind="stable")
        stem = _assigned(folder, self.unit)
        stem.parent.mkdir()
        np.save(stem.with_suffix(".clusters.npy"), clusters.reshape(-1)[order])
        np.save(stem.with_suffix(".rows.npy"), (order // max(1, clusters.shape[1])).astype(np.uint32))
        return {}


@dataclass(frozen=True)
class CompareClusters:
    """Clusters `first` to below `last`: pairs/NNNNN.npy (PAIR), none twice, and edges/NNNNN.npy as `JoinRange` writes
    them."""

    number: int
    first: int
    last: int
    threshold: float
    assigned: Path
    units: Sequence[Unit]

    def run(self, folder: Path) -> Mapping[str, int]:
        parts = [np.empty(0, PAIR)]
        for cluster in range(self.first, self.last):
            parts += self._pairs(cluster)
        pairs = np.unique(np.concatenate(parts))
        (folder / "pairs").mkdir()
        np.save(folder / "pairs" / f"{self.number:05d}.npy", pairs)
        save_pairs(folder, "edges", self.number, np.stack(contract(pairs["later"], pairs["earlier"])))
        return {"pairs": len(pairs)}

    def _pairs(self, cluster: int) -> list[np.ndarray]:
        ordinals, vectors, ids, num_fixed = self._members(cluster)
        parts = []
        for rows in split(vectors, ids):
            later, earlier, cosine = near_pairs(vectors[rows], int((rows < num_fixed).sum()), self.threshold)
            pairs = np.empty(len(later), PAIR)
            pairs["later"], pairs["earlier"] = ordinals[rows[later]], ordinals[rows[earlier]]
            pairs["cosine"] = cosine
            parts.append(pairs)
        return parts

    def _members(self, cluster: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Ordinals, vectors and ids of the documents of a cluster in order of rank; how many of them, the first, belong
        to earlier corpora."""
        ordinals, vectors, records, corpora, num_fixed = [], [], [], [], 0
        for unit in self.units:
            stem = _assigned(self.assigned, unit)
            start, stop = np.searchsorted(load_array(stem.with_suffix(".clusters.npy")), [cluster, cluster + 1])
            rows = load_array(stem.with_suffix(".rows.npy"))[start:stop]
            ordinals.append(unit.first + rows.astype(np.int64))
            vectors.append(unit.vectors()[rows])
            records.append(unit.records()[rows])
            corpora.append(np.full(len(rows), unit.corpus))
            num_fixed += len(rows) * unit.fixed
        every = np.concatenate(records)
        order = rank(np.concatenate(corpora), every["quality"], every["length"], every["doc_id"])
        return np.concatenate(ordinals)[order], np.concatenate(vectors)[order], every["doc_id"][order, 0], num_fixed


def _assigned(folder: Path, unit: Unit) -> Path:
    return folder / "assigned" / f"{unit.number:05d}"
