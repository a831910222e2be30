"""One shard of documents into one shard of packed sequences per split: the work that is spread over the cluster."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.fanout import ShardResult
from pipelines.artifacts.documents import HELDOUT, TRAIN, iter_kept
from pipelines.artifacts.tokenizer import TextTokenizer
from pipelines.artifacts.tokens import PIECES, id_dtype, write_token_shard
from pipelines.tokenize.packing import Placed, fill_rows, pack

SPLITS = (TRAIN, HELDOUT)


@dataclass(frozen=True)
class Shard:
    """One shard of documents with its decisions, the tokenizer's folder, and T."""

    number: int
    documents: Path
    decisions: Path
    tokenizer: Path
    sequence_length: int


@dataclass(frozen=True)
class Counts:
    """What one split holds: `tokens` without padding and repeats, `placed` with repeats."""

    documents: int = 0
    text_bytes: int = 0
    tokens: int = 0
    placed: int = 0
    sequences: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def encode_shard(shard: Shard, folder: Path) -> ShardResult:
    """Write both splits of `shard` under `folder`; the metrics are Counts by split."""
    # Shards are what runs in parallel; threads below them would only compete for the same cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = TextTokenizer(shard.tokenizer)
    return ShardResult({split: asdict(_encode_split(shard, tokenizer, split, folder)) for split in SPLITS})


def _encode_split(shard: Shard, tokenizer: TextTokenizer, split: str, folder: Path) -> Counts:
    doc_ids: list[str] = []
    documents: list[np.ndarray] = []
    text_bytes = 0
    for batch in iter_kept(shard.documents, shard.decisions, split):
        doc_ids += batch["doc_id"].to_pylist()
        documents += tokenizer.encode_documents(batch["text"].to_pylist())
        text_bytes += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    lengths = [len(ids) for ids in documents]
    placed = pack(lengths, shard.sequence_length + 1)
    rows = fill_rows(documents, placed, shard.sequence_length + 1, tokenizer.pad_id)
    rows = rows.astype(id_dtype(tokenizer.vocab_size))
    write_token_shard(rows, _pieces(placed, doc_ids), folder, split, shard.number)
    return Counts(len(documents), text_bytes, sum(lengths), sum(piece.length for piece in placed), len(rows))


def _pieces(placed: Sequence[Placed], doc_ids: Sequence[str]) -> pa.Table:
    columns = {
        "sequence": [piece.row for piece in placed],
        "start": [piece.start for piece in placed],
        "length": [piece.length for piece in placed],
        "doc_id": [doc_ids[piece.document] for piece in placed],
        "doc_start": [piece.doc_start for piece in placed],
    }
    return pa.table(columns, schema=PIECES)
