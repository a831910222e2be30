"""The stage `dedup`: which document stands for which, as a sidecar of the documents."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_recipes.schema import DedupSection
from infra.context import StageContext
from infra.fanout import map_shards
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines.artifacts.documents import DECISIONS, shard_paths, write_shard
from pipelines.dedup.clusters import Clusters, cluster
from pipelines.dedup.minhash import jaccard, shingles
from pipelines.dedup.signing import Shard, sign_shard

CLUSTERS_FILE = "clusters.parquet"
CLUSTERS = pa.schema([pa.field("kept_id", pa.string(), nullable=False), pa.field("size", pa.int32(), nullable=False)])
"""Clusters of more than one document, largest first."""
CHARACTERS_AT_ONCE = 2**28
"""Text held in memory for comparison."""


def stage(name: str, section: DedupSection, source: Stage, filtered: Stage) -> Stage:
    """Decisions on the documents of corpus `name` that passed the filter."""
    inputs = {"source": source, "filter": filtered}
    return Stage("dedup", name, 1, section.as_params(), inputs, partial(_dedup, section))


@dataclass(frozen=True)
class Passed:
    """The documents that passed the filter, best rank first: longest, then smallest doc_id. `shard` and `row` are
    where each is stored."""

    doc_id: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    characters: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    keys: np.ndarray


def _dedup(section: DedupSection, context: StageContext, inputs: Mapping[str, Artifact]) -> Metrics:
    documents = shard_paths(inputs["source"].path, "documents")
    scores = shard_paths(inputs["filter"].path, "scores")
    shards = [Shard(number, *paths) for number, paths in enumerate(zip(documents, scores, strict=True))]
    passed = _by_rank(shards, _sign(section, shards, context))
    clusters = cluster(passed.digests, passed.keys, partial(_verify, section, documents, passed))
    for shard in shards:
        write_shard(_decisions(shard, passed, clusters), context.out / "decisions", shard.number)
    alone = clusters.kept == np.arange(len(clusters.kept))
    sizes = clusters.sizes[alone]
    _write_clusters(passed.doc_id[alone], sizes, context.out)
    copies = ~alone & (clusters.kept == clusters.exact)
    return {
        "data/documents_in": len(alone),
        "data/bytes_in": int(passed.sizes.sum()),
        "data/documents": int(alone.sum()),
        "data/bytes": int(passed.sizes[alone].sum()),
        "data/dropped_exact_duplicate": int(copies.sum()),
        "data/dropped_near_duplicate": int((~alone & ~copies).sum()),
        "data/clusters": int((sizes > 1).sum()),
        "data/largest_cluster": int(sizes.max()),
        "data/pairs_compared": clusters.num_compared,
        "data/pairs_rejected": clusters.num_rejected,
    }


def _sign(section: DedupSection, shards: Sequence[Shard], context: StageContext) -> list[Path]:
    """Signed shards, kept beside the stage's state: they are no result."""
    folder = context.state / "signed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    map_shards(replace(context, out=folder), partial(sign_shard, section), shards)
    return [folder / f"{shard.number:05d}.npz" for shard in shards]


def _by_rank(shards: Sequence[Shard], signed: Sequence[Path]) -> Passed:
    parts: dict[str, list[np.ndarray]] = {}
    for shard, path in zip(shards, signed, strict=True):
        with np.load(path) as arrays:
            found = {name: arrays[name] for name in ("rows", "characters", "sizes", "digests", "keys")}
        ids = pq.read_table(shard.documents, columns=["doc_id"])["doc_id"].to_numpy().astype("S32")
        found |= {"doc_id": ids[found["rows"]], "shard": np.full(len(found["rows"]), shard.number)}
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    order = np.lexsort((columns["doc_id"], -columns["characters"]))
    columns["row"] = columns.pop("rows")
    return Passed(**{name: values[order] for name, values in columns.items()})


def _verify(
    section: DedupSection, documents: Sequence[Path], passed: Passed, candidates: Mapping[int, Sequence[int]]
) -> dict[int, float]:
    """Jaccard of the texts of each member and its best, where it reaches the threshold."""
    near: dict[int, float] = {}
    for part in _portions(candidates, passed.characters):
        texts = _texts(
            documents, passed, {best for best, _ in part} | {member for _, group in part for member in group}
        )
        for best, group in part:
            standard = shingles(texts[best], section.ngram)
            for member in group:
                value = jaccard(standard, shingles(texts[member], section.ngram))
                if value >= section.jaccard_threshold:
                    near[member] = value
    return near


def _portions(
    candidates: Mapping[int, Sequence[int]], characters: np.ndarray
) -> Iterator[list[tuple[int, Sequence[int]]]]:
    """Clusters in runs whose texts fit into memory together."""
    portion: list[tuple[int, Sequence[int]]] = []
    held = 0
    for best, group in candidates.items():
        size = int(characters[best] + characters[list(group)].sum())
        if portion and held + size > CHARACTERS_AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append((best, group))
        held += size
    yield portion


def _texts(documents: Sequence[Path], passed: Passed, wanted: set[int]) -> dict[int, str]:
    chosen = np.array(sorted(wanted))
    texts: dict[int, str] = {}
    for shard in np.unique(passed.shard[chosen]):
        here = chosen[passed.shard[chosen] == shard]
        column = pq.read_table(documents[shard], columns=["text"])["text"]
        texts |= zip(here.tolist(), column.take(pa.array(passed.row[here])).to_pylist(), strict=True)
    return texts


def _decisions(shard: Shard, passed: Passed, clusters: Clusters) -> pa.Table:
    """DECISIONS for one shard: a row for each of its documents, those that the filter dropped included."""
    doc_ids = pq.read_table(shard.documents, columns=["doc_id"])["doc_id"]
    here = np.flatnonzero(passed.shard == shard.number)
    rows = passed.row[here]
    alone = clusters.kept[here] == here
    keep, reason = np.zeros(len(doc_ids), bool), np.full(len(doc_ids), "filter", dtype=object)
    kept_id, jaccards = np.full(len(doc_ids), None, dtype=object), np.full(len(doc_ids), np.nan)
    size = np.ones(len(doc_ids), np.int32)
    keep[rows] = alone
    copies = clusters.kept[here] == clusters.exact[here]
    reason[rows] = np.where(alone, "", np.where(copies, "exact_duplicate", "near_duplicate"))
    kept_id[rows] = np.where(alone, None, passed.doc_id[clusters.kept[here]].astype(str))
    jaccards[rows] = clusters.jaccard[here]
    size[rows] = clusters.sizes[here]
    columns = [doc_ids, keep, reason, kept_id, size, pa.array(jaccards, from_pandas=True)]
    return pa.table(dict(zip(DECISIONS.names, columns, strict=True))).cast(DECISIONS)


def _write_clusters(kept: np.ndarray, sizes: np.ndarray, out: Path) -> None:
    several = np.flatnonzero(sizes > 1)
    order = several[np.lexsort((kept[several], -sizes[several]))]
    table = pa.table({"kept_id": kept[order].astype(str), "size": sizes[order].astype(np.int32)}).cast(CLUSTERS)
    pq.write_table(table, out / CLUSTERS_FILE, compression="zstd")
