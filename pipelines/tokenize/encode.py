"""One shard of documents into one shard of packed sequences per split: the work that is spread over the cluster.

Ids go to a file as they are made, and rows are gathered from it, so memory holds lengths and places, no tokens.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.formats.parquet import read_table
from pipelines.artifacts.tokenizer import TextTokenizer
from pipelines.artifacts.tokens import id_dtype, write_token_shard
from pipelines.tokenize.packing import Placement, fill_rows, pack
from pipelines.tokenize.training_documents import KeptShard

SPLITS = (TRAIN, HELDOUT)
NO_IDS = np.empty(0, dtype=np.uint16)


@dataclass(frozen=True)
class Shard:
    """One shard of documents, the tokenizer's folder, and T."""

    number: int
    kept: KeptShard
    tokenizer: Path
    sequence_length: int


@dataclass(frozen=True)
class Counts:
    """What one split holds: `tokens` without padding and repeats, `placed` with repeats; `changed`: documents that
    their tokens do not give back exactly."""

    documents: int = 0
    text_bytes: int = 0
    tokens: int = 0
    placed: int = 0
    sequences: int = 0
    changed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True)
class Encoded:
    """The documents of a split, in order: their ids, the ids that each has, the bytes of all texts, and how many texts
    their ids do not give back."""

    doc_ids: pa.Array
    lengths: np.ndarray
    text_bytes: int
    changed: int


def encode_shard(shard: Shard, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`; returns Counts by split."""
    # Shards are what runs in parallel; threads below them would only compete for the same cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = TextTokenizer(shard.tokenizer)
    return {split: asdict(_encode_split(shard, tokenizer, split, folder)) for split in SPLITS}


def _encode_split(shard: Shard, tokenizer: TextTokenizer, split: str, folder: Path) -> Counts:
    scratch = folder / "ids"
    with scratch.open("wb") as file:
        encoded = _encode(shard, tokenizer, split, file)
    # No file of length 0 can be mapped; slices of a plain view are made much faster than those of a memmap.
    ids = np.asarray(np.memmap(scratch, id_dtype(tokenizer.vocab_size), "r")) if len(encoded.lengths) else NO_IDS
    row_length = shard.sequence_length + 1
    placement = pack(encoded.lengths, row_length)
    rows = fill_rows(ids, encoded.lengths, placement, row_length, tokenizer.pad_id)
    write_token_shard(rows, _pieces(placement, encoded.doc_ids, shard.kept.documents), folder, split, shard.number)
    scratch.unlink()
    return Counts(
        documents=len(encoded.lengths),
        text_bytes=encoded.text_bytes,
        tokens=int(encoded.lengths.sum()),
        placed=int(placement.length.sum()),
        sequences=placement.num_rows,
        changed=encoded.changed,
    )


def _encode(shard: Shard, tokenizer: TextTokenizer, split: str, file: BinaryIO) -> Encoded:
    """Write the ids of the split's documents end to end."""
    doc_ids = [pa.array([], pa.string())]
    lengths: list[int] = []
    text_bytes = changed = 0
    for batch in shard.kept.batches(split):
        texts = batch["text"].to_pylist()
        for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
            file.write(ids.data)
            lengths.append(len(ids))
            changed += not tokenizer.gives_back(ids[1:-1].tolist(), text)
        doc_ids.append(batch["doc_id"])
        text_bytes += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    return Encoded(pa.concat_arrays(doc_ids), np.array(lengths, dtype=np.int64), text_bytes, changed)


def _pieces(placement: Placement, doc_ids: pa.Array, documents: Path) -> pa.Table:
    """PIECES of a shard whose documents are numbered as in `doc_ids` and stand in the file `documents`."""
    every_doc_id = read_table(documents, columns=["doc_id"])["doc_id"]
    return pa.table(
        {
            "sequence": placement.row,
            "start": placement.start,
            "length": placement.length,
            "doc_id": doc_ids.take(pa.array(placement.document)),
            "doc_start": placement.doc_start,
            "doc_row": pc.index_in(doc_ids, every_doc_id).take(pa.array(placement.document)),
        }
    )
