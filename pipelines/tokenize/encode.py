"""One shard of documents into one shard of packed sequences per split: the work that is spread over the cluster.

Ids go to a file as they are made, and rows are gathered from it, so memory holds lengths and positions, no tokens. They
are the library's whichever encoder makes them: if one differs in a shard, the shard begins again with the next.
"""

import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.store import file_digest
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokenization.tokenizer import CONFIG_FILE, TOKENIZER_FILE, TextTokenizer
from pipelines.artifacts.tokenization.tokens import id_dtype, write_token_shard
from pipelines.tokenize.encoders import DifferenceError, Encoder, Ids, choose, encode_checked
from pipelines.tokenize.encoders.joining import between_end_ids, num_changed
from pipelines.tokenize.packing import fill_rows, pack
from pipelines.tokenize.training_documents import KeptShard

SPLITS = (TRAIN, HELDOUT)
NO_IDS = np.empty(0, dtype=np.uint16)


@dataclass(frozen=True)
class Shard:
    """One shard of documents, the tokenizer's folder, T, and the encoders that may not be used."""

    number: int
    kept: KeptShard
    tokenizer: Path
    sequence_length: int
    distrusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counts:
    """The counts of one split: `tokens` without padding and repeats, `placed` with repeats; `changed`: documents that
    their tokens do not reproduce exactly."""

    documents: int = 0
    text_bytes: int = 0
    tokens: int = 0
    placed: int = 0
    sequences: int = 0
    changed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass
class Encoded:
    """The documents of a split, in order: their ids, end to end in a file, and how many each has; the bytes of all
    texts, and how many texts their ids do not give back."""

    ids: Path
    doc_ids: list[pa.Array] = field(default_factory=lambda: [pa.array([], pa.string())])
    lengths: list[np.ndarray] = field(default_factory=lambda: [np.empty(0, np.int64)])
    text_bytes: int = 0
    changed: int = 0


def encode_shard(shard: Shard, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`.

    Returns Counts by split, the name of the `encoder`, and the `differences` of those that are not trusted.
    """
    # Shards run in parallel; threads below them would only compete for the same cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = _read(shard.tokenizer, *(file_digest(shard.tokenizer / file) for file in (TOKENIZER_FILE, CONFIG_FILE)))
    differences: dict[str, str] = {}
    while True:
        encoder, found = choose(tokenizer, [*shard.distrusted, *differences])
        differences |= found
        try:
            counts = _encode_splits(shard, tokenizer, encoder, folder)
        except DifferenceError as error:
            differences[error.encoder] = error.difference
        else:
            return {**counts, "encoder": encoder.name, "differences": differences}


@lru_cache(maxsize=2)
def _read(folder: Path, *_: str) -> TextTokenizer:
    """The tokenizer in `folder`, whose files have the digests given, for all shards of this process."""
    return TextTokenizer(folder)


def _encode_splits(shard: Shard, tokenizer: TextTokenizer, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Counts by split."""
    encoded = {split: Encoded(folder / f"{split}.ids") for split in SPLITS}
    with ExitStack() as stack:
        files = {split: stack.enter_context(each.ids.open("wb")) for split, each in encoded.items()}
        is_first = True
        for batch in shard.kept.batches(*SPLITS):
            for split in SPLITS:
                documents = batch.filter(pc.equal(batch["split"], split))
                if documents.num_rows:
                    ids = encode_checked(encoder, tokenizer, documents, first=is_first)
                    files[split].write(between_end_ids(ids, tokenizer.end_id, id_dtype(tokenizer.vocab_size)).data)
                    _count(encoded[split], tokenizer, documents, ids)
                    is_first = False
    return {split: asdict(_pack(shard, tokenizer, encoded[split], split, folder)) for split in SPLITS}


def _count(encoded: Encoded, tokenizer: TextTokenizer, documents: pa.RecordBatch, ids: Ids) -> None:
    encoded.doc_ids.append(documents["doc_id"])
    encoded.lengths.append(np.diff(ids.offsets) + 2)
    encoded.text_bytes += pc.sum(pc.binary_length(documents["text"])).as_py()
    encoded.changed += num_changed(tokenizer, ids, documents["text"])


def _pack(shard: Shard, tokenizer: TextTokenizer, encoded: Encoded, split: str, folder: Path) -> Counts:
    lengths = np.concatenate(encoded.lengths)
    # No file of length 0 can be mapped; slices of a plain view are made much faster than those of a memmap.
    ids = np.asarray(np.memmap(encoded.ids, id_dtype(tokenizer.vocab_size), "r")) if len(lengths) else NO_IDS
    row_length = shard.sequence_length + 1
    placement = pack(lengths, row_length)
    rows = fill_rows(ids, lengths, placement, row_length, tokenizer.pad_id)
    pieces = shard.kept.piece_table(placement, pa.concat_arrays(encoded.doc_ids))
    write_token_shard(rows, pieces, folder, split, shard.number)
    encoded.ids.unlink()
    return Counts(
        documents=len(lengths),
        text_bytes=encoded.text_bytes,
        tokens=int(lengths.sum()),
        placed=int(placement.length.sum()),
        sequences=placement.num_rows,
        changed=encoded.changed,
    )
