"""The training sample of a tokenizer: the first documents of each corpus by a draw, up to its bytes.

A document's draw is a digest of its id, so the sample does not depend on the order in which shards are read, and taking
down a document outside of it changes nothing. Shards are read side by side and each offers its own first documents; the
sample is the common order of these offers as far as it is complete.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.artifacts.documents import TRAIN
from pipelines.artifacts.formats.parquet import ParquetFile, read_table, write_table
from pipelines.tokenize.training_documents import KeptShard

OFFER = pa.schema(
    [
        pa.field("draw", pa.uint64(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
CHOSEN = pa.schema([("offer", pa.int64()), OFFER.field("doc_id"), OFFER.field("text_bytes")])
"""`offer`: index of its file among those of the corpus."""
ORDER = ["draw", "doc_id", "offer"]
SHARE_FACTOR = 4
SHARE_SLACK_BYTES = 2**20
"""A shard offers this much more than its share by size: its documents may be kept more often than others'."""
TEXT_ROWS = 256
"""Texts of an offer that are held at a time."""


@dataclass(frozen=True)
class Offered:
    """One shard of `corpus` that offers up to `max_bytes` of its kept training documents, in file `number`."""

    number: int
    corpus: str
    kept: KeptShard
    max_bytes: int


def plan_offers(corpora: Mapping[str, Sequence[KeptShard]], sample_bytes: int) -> list[Offered]:
    """An offer of each shard of each corpus."""
    offers: list[Offered] = []
    for corpus, shards in corpora.items():
        sizes = [shard.documents.stat().st_size for shard in shards]
        total = sum(sizes)
        for shard, size in zip(shards, sizes, strict=True):
            share = sample_bytes * size // total
            max_bytes = min(sample_bytes, SHARE_FACTOR * share + SHARE_SLACK_BYTES)
            offers.append(Offered(len(offers), corpus, shard, max_bytes))
    return offers


def offer(shard: Offered, folder: Path) -> dict[str, bool]:
    """Write OFFER in the order of draws; returns whether it has every document of the shard, as "complete"."""
    held = [OFFER.empty_table()]
    num_documents = 0
    for batch in shard.kept.batches(TRAIN):
        held.append(_drawn(batch))
        num_documents += batch.num_rows
        if sum(table.nbytes for table in held) > 4 * shard.max_bytes:
            held = [_first(held, shard.max_bytes)]
    offered = _first(held, shard.max_bytes)
    file = offer_file(folder, shard.number)
    file.parent.mkdir()
    write_table(offered, file, row_group_size=TEXT_ROWS)
    return {"complete": len(offered) == num_documents}


def offer_file(folder: Path, number: int) -> Path:
    """File of offer `number`."""
    return folder / "offers" / f"{number:06d}.parquet"


def choose(files: Sequence[Path], complete: Sequence[bool], sample_bytes: int) -> pa.Table:
    """The sample of one corpus: its first documents by draw, up to the one that reaches `sample_bytes`, and nothing
    after the end of an offer that is not complete, as CHOSEN."""
    tables = [
        read_table(file, columns=["draw", *CHOSEN.names[1:]]).append_column("offer", pa.array([index] * rows))
        for index, file in enumerate(files)
        if (rows := pq.read_metadata(file).num_rows)
    ]
    if not tables:
        return pa.table([[], [], []], schema=CHOSEN)
    ordered = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ORDER])
    reached = np.cumsum(ordered["text_bytes"].to_numpy())
    last = np.zeros(len(files), np.int64)
    np.maximum.at(last, ordered["offer"].to_numpy(), np.arange(len(ordered)))
    ends = last[~np.array(complete, bool)].tolist()
    count = min([int(np.sum(reached < sample_bytes)), *ends]) + 1
    return ordered.slice(0, count).select(CHOSEN.names)


def iter_texts(files: Sequence[Path], sample: pa.Table) -> Iterator[str]:
    """The texts of `sample`, offer by offer: the chosen documents of an offer are its beginning."""
    counts = np.bincount(sample["offer"].to_numpy(), minlength=len(files)).tolist()
    for file, count in zip(files, counts, strict=True):
        for batch in ParquetFile(file).iter_batches(TEXT_ROWS, columns=["text"]) if count else ():
            yield from batch["text"].slice(0, count).to_pylist()
            count -= min(count, batch.num_rows)


def _drawn(batch: pa.RecordBatch) -> pa.Table:
    doc_ids = batch["doc_id"].to_pylist()
    draws = [int.from_bytes(hashlib.sha256(f"tokenizer sample\n{doc_id}".encode()).digest()[:8]) for doc_id in doc_ids]
    columns = [pa.array(draws, pa.uint64()), batch["doc_id"], pc.binary_length(batch["text"]), batch["text"]]
    return pa.Table.from_arrays(columns, schema=OFFER)


def _first(tables: Sequence[pa.Table], max_bytes: int) -> pa.Table:
    """The first documents by draw, up to the one that reaches `max_bytes`."""
    table = pa.concat_tables(tables).sort_by([("draw", "ascending"), ("doc_id", "ascending")])
    reached = np.cumsum(table["text_bytes"].to_numpy())
    return table.slice(0, int(np.sum(reached < max_bytes)) + 1)
