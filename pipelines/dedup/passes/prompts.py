"""Conversations that begin alike: which prompts are compared, and what becomes of the decisions on whole texts.

prompt-select   each shard     the kept conversations, as documents to compare
prompt-...                     all passes over their first prompts
prompt-sort     each shard     the documents whose prompts are alike, by id
prompt-heirs    each id range  the same of all shards
prompt-merge    each shard     decisions on both, and both indexes of what is kept
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import DECISIONS, READ_BATCH_ROWS, write_shard
from pipelines.artifacts.formats.parquet import ParquetFile, read_table
from pipelines.dedup import index
from pipelines.dedup.parts import COLUMNS, compared_texts
from pipelines.dedup.passes.deciding import count_losses, largest_clusters
from pipelines.dedup.passes.heirs import Heirs

FIRST_PROMPT: Final = "first_prompt"
EVIDENCE = ("jaccard", "containment", "shared_bands")


@dataclass(frozen=True)
class SelectPrompts:
    """One shard: selected/NNNNN.parquet, the kept documents with a first prompt, as `SignShard` reads them. A document
    stands for its whole cluster and ranks by the length of all of its text."""

    number: int
    documents: Path
    filtered: Path
    decisions: Path

    def run(self, folder: Path) -> Mapping[str, int]:
        decisions, filtered = read_table(self.decisions), read_table(self.filtered, columns=["quality"])
        lengths, has_prompt = [], []
        for batch in ParquetFile(self.documents).iter_batches(READ_BATCH_ROWS, columns=COLUMNS[FIRST_PROMPT]):
            lengths.append(pc.binary_length(batch["text"]))
            has_prompt.append(pc.not_equal(compared_texts(batch, FIRST_PROMPT), ""))
        columns = {
            "keep": pc.and_(decisions["keep"], pa.chunked_array(has_prompt, pa.bool_())),
            "quality": filtered["quality"],
            "size": decisions["cluster_size"],
            "length": pa.chunked_array(lengths, pa.int64()),
        }
        write_shard(pa.table(columns), folder / "selected", self.number)
        return {}


@dataclass(frozen=True)
class MergePrompts:
    """One shard; writes decisions/ (or the folder `kind`), index/, prompts/ and largest/ under its number.

    `whole` and `prompts`: folders of the pass `decide` over whole texts and over first prompts.
    """

    number: int
    documents: Path
    whole: Path
    prompts: Path
    heirs: Heirs
    kind: str

    def run(self, folder: Path) -> Mapping[str, Any]:
        whole, prompts = (_decisions(decided, self.number) for decided in (self.whole, self.prompts))
        table = merged(whole, prompts, self.heirs.of(whole["kept_id"]))
        write_shard(table, folder / self.kind, self.number)
        write_shard(largest_clusters([table]), folder / "largest", self.number)
        removed_bytes = self._write_indexes(table, folder)
        removed = len(table) - pc.sum(pc.equal(table["keep"], whole["keep"])).as_py()
        clusters = [int((each.filter(each["keep"])["cluster_size"].to_numpy() > 1).sum()) for each in (whole, table)]
        return {
            "dropped_first_prompt": removed,
            "documents": -removed,
            "bytes": -removed_bytes,
            "clusters": clusters[1] - clusters[0],
            "origins": count_losses(table, read_table(self.documents, columns=["origin"])["origin"]),
        }

    def _write_indexes(self, table: pa.Table, folder: Path) -> int:
        """Write the index of whole texts without what the prompts removed, and that of the prompts; returns the bytes
        of the removed texts."""
        name = f"{self.number:05d}"
        records, words = index.load(self.whole / "index" / name)
        is_kept = table["keep"].to_numpy()[records["row"]]
        kept = records[is_kept]
        kept["size"] = table["cluster_size"].to_numpy()[kept["row"]]
        index.save(folder / "index" / name, kept, words[is_kept])
        index.save(folder / "prompts" / name, *index.load(self.prompts / "index" / name))
        return int(records["length"][~is_kept].sum())


def merged(whole: pa.Table, prompts: pa.Table, moved: pa.Table) -> pa.Table:
    """DECISIONS of one shard on both parts.

    Args:
        whole: Decisions on whole texts.
        prompts: Decisions on first prompts, with the reason "filter" for a document whose prompt was not compared.
        moved: `doc_id`, `kept_id` and `cluster_size` of those of the shard's representatives whose prompts are like
            others. What one of them stood for has moved with it; without evidence, since it was never compared with
            the other one.
    """
    compared = pc.not_equal(prompts["reason"], "filter")
    dropped = pc.and_(compared, pc.invert(prompts["keep"]))
    position = pc.index_in(whole["kept_id"], value_set=moved["doc_id"])
    heir, size = moved["kept_id"].take(position), moved["cluster_size"].take(position)
    is_moved = pc.fill_null(pc.not_equal(heir, whole["kept_id"]), False)
    columns = {
        "doc_id": whole["doc_id"],
        "keep": pc.and_(whole["keep"], pc.invert(dropped)),
        "reason": pc.if_else(dropped, FIRST_PROMPT, whole["reason"]),
        "kept_id": pc.if_else(dropped, prompts["kept_id"], pc.coalesce(heir, whole["kept_id"])),
        "cluster_size": pc.if_else(compared, prompts["cluster_size"], pc.coalesce(size, whole["cluster_size"])),
    }
    for name in EVIDENCE:
        own = pc.if_else(is_moved, pa.scalar(None, whole[name].type), whole[name])
        columns[name] = pc.if_else(dropped, prompts[name], own)
    return pa.table(columns).select(DECISIONS.names).cast(DECISIONS)


def _decisions(folder: Path, number: int) -> pa.Table:
    return read_table(folder / "decisions" / f"{number:05d}.parquet")
