"""Decisions of a further comparison of the kept documents, merged with those before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import COSINE, DECISIONS, decisions_schema, write_shard
from pipelines.artifacts.formats.parquet import read_table
from pipelines.dedup import index
from pipelines.dedup.index import VECTORS, WORDS
from pipelines.dedup.passes.deciding import count_losses, largest_clusters
from pipelines.dedup.passes.heirs import Heirs

SEMANTIC = "semantic"
"""Name of the index of embeddings."""
EVIDENCE = ("jaccard", "containment", "shared_bands")


@dataclass(frozen=True)
class DecidedShard:
    """Shard `number` as the comparisons before left it under the folder `before`, and where it is written: the folder
    of decisions is named `kind`. `indexes`: the folder that each index of the result comes from, by its name."""

    number: int
    documents: Path
    before: Path
    kind: str
    indexes: Mapping[str, Path]

    def decisions(self) -> pa.Table:
        """DECISIONS of the comparisons before."""
        return read_table(self.before / "decisions" / f"{self.number:05d}.parquet")

    def write(self, table: pa.Table, reason: str, folder: Path) -> Mapping[str, Any]:
        """Write decisions, indexes and largest clusters under `folder`. Returns counts as differences from those of
        the comparisons before, and those of documents removed for `reason`."""
        before = self.decisions()
        write_shard(table, folder / self.kind, self.number)
        write_shard(largest_clusters([table]), folder / "largest", self.number)
        removed_bytes = self._write_indexes(table, folder)
        removed = len(table) - pc.sum(pc.equal(table["keep"], before["keep"])).as_py()
        clusters = [int((each.filter(each["keep"])["cluster_size"].to_numpy() > 1).sum()) for each in (before, table)]
        return {
            f"dropped_{reason}": removed,
            "documents": -removed,
            "bytes": -removed_bytes,
            "clusters": clusters[1] - clusters[0],
            "origins": count_losses(table, read_table(self.documents, columns=["origin"])["origin"]),
        }

    def _write_indexes(self, table: pa.Table, folder: Path) -> int:
        """Write each index without the removed documents; returns the bytes of the removed texts."""
        removed_bytes = 0
        keep, size = table["keep"].to_numpy(), table["cluster_size"].to_numpy()
        for name, source in self.indexes.items():
            kind = VECTORS if name == SEMANTIC else WORDS
            records, rows = index.load(source / f"{self.number:05d}", kind)
            is_kept = keep[records["row"]]
            remaining = records[is_kept]
            remaining["size"] = size[remaining["row"]]
            index.save(folder / name / f"{self.number:05d}", remaining, rows[is_kept], kind)
            if name == "index":
                removed_bytes = int(records["length"][~is_kept].sum())
        return removed_bytes


@dataclass(frozen=True)
class MergeShard:
    """One shard; writes decisions, indexes and largest/ under its number. `later`: folder of the pass `decide` of the
    comparison, which removes documents for `reason`; `heirs`: the documents that it found alike."""

    reason: str
    shard: DecidedShard
    later: Path
    heirs: Heirs

    def run(self, folder: Path) -> Mapping[str, Any]:
        before = self.shard.decisions()
        later = read_table(self.later / "decisions" / f"{self.shard.number:05d}.parquet")
        table = merged(before, later, self.heirs.of(before["kept_id"]), self.reason)
        if COSINE.name in later.column_names:
            table = table.append_column(COSINE, later[COSINE.name]).cast(decisions_schema(COSINE.name))
        return self.shard.write(table, self.reason, folder)


def merged(before: pa.Table, later: pa.Table, moved: pa.Table, reason: str) -> pa.Table:
    """DECISIONS of one shard on both comparisons.

    Args:
        before: Decisions of the comparisons before.
        later: Decisions of this one, with the reason "filter" for a document that was not compared.
        moved: `doc_id`, `kept_id` and `cluster_size` of those of the shard's representatives that this comparison
            found like others. What one of them stood for has moved with it; without evidence, since it was never
            compared with the other one.
        reason: Name of the reason why this comparison removes documents.
    """
    compared = pc.not_equal(later["reason"], "filter")
    dropped = pc.and_(compared, pc.invert(later["keep"]))
    position = pc.index_in(before["kept_id"], value_set=moved["doc_id"])
    heir, size = moved["kept_id"].take(position), moved["cluster_size"].take(position)
    is_moved = pc.fill_null(pc.not_equal(heir, before["kept_id"]), False)
    columns = {
        "doc_id": before["doc_id"],
        "keep": pc.and_(before["keep"], pc.invert(dropped)),
        "reason": pc.if_else(dropped, reason, before["reason"]),
        "kept_id": pc.if_else(dropped, later["kept_id"], pc.coalesce(heir, before["kept_id"])),
        "cluster_size": pc.if_else(compared, later["cluster_size"], pc.coalesce(size, before["cluster_size"])),
    }
    for name in EVIDENCE:
        own = pc.if_else(is_moved, pa.scalar(None, before[name].type), before[name])
        columns[name] = pc.if_else(dropped, later[name], own)
    return pa.table(columns).select(DECISIONS.names).cast(DECISIONS)
