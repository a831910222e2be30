"""One shard of packed tokens in sequences of another length: its documents are put together and packed again."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.store.integrity import require_intact
from pipelines.artifacts.tokenization.tokens import TokenSequences, write_token_shard
from pipelines.tokenize.encode import SPLITS, Counts
from pipelines.tokenize.packing import fill_rows, pack


@dataclass(frozen=True)
class Repacked:
    """One shard of the corpus in the folder `tokens`, and its new sequence length."""

    number: int
    tokens: Path
    sequence_length: int


def repack_shard(shard: Repacked, folder: Path) -> dict[str, Any]:
    """Write both splits of `shard` under `folder`. Returns Counts by split, those of texts being 0."""
    return {split: asdict(_repack_split(shard, split, folder)) for split in SPLITS}


def _repack_split(shard: Repacked, split: str, folder: Path) -> Counts:
    sequences = TokenSequences(shard.tokens, split)
    pieces = _by_document(sequences.shard_pieces(shard.number))
    require_intact(shard.tokens / split / f"{shard.number:05d}.bin")
    ids, lengths = _documents(sequences, shard.number, pieces)
    row_length = shard.sequence_length + 1
    placement = pack(lengths, row_length)
    first = pieces.filter(pc.equal(pieces["doc_start"], 0))
    table = pa.table(
        {
            "sequence": placement.row,
            "start": placement.start,
            "length": placement.length,
            "doc_id": first["doc_id"].combine_chunks().take(pa.array(placement.document)),
            "doc_start": placement.doc_start,
            "doc_row": first["doc_row"].combine_chunks().take(pa.array(placement.document)),
        }
    )
    rows = fill_rows(ids, lengths, placement, row_length, sequences.index.pad_id)
    write_token_shard(rows, table, folder, split, shard.number)
    return Counts(
        documents=len(lengths),
        tokens=int(lengths.sum()),
        placed=int(placement.length.sum()),
        sequences=placement.num_rows,
    )


def _by_document(pieces: pa.Table) -> pa.Table:
    return pieces.sort_by([("doc_row", "ascending"), ("doc_start", "ascending")])


def _documents(sequences: TokenSequences, shard: int, pieces: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all documents end to end, and how many each has. A piece that goes on a document begins with the last
    id of the piece before, which counts once."""
    if not pieces.num_rows:
        return np.empty(0, dtype=sequences.index.dtype), np.empty(0, dtype=np.int64)
    sequence, start, length, doc_start = (
        pieces[name].to_numpy().astype(np.int64) for name in ("sequence", "start", "length", "doc_start")
    )
    repeated = (doc_start > 0).astype(np.int64)
    first, count = sequence * (sequences.index.sequence_length + 1) + start + repeated, length - repeated
    flat = sequences.rows(shard).reshape(-1)
    ids = np.concatenate([flat[at : at + size] for at, size in zip(first.tolist(), count.tolist(), strict=True)])
    return ids, np.add.reduceat(count, np.flatnonzero(repeated == 0))
