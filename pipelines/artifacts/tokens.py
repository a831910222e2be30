"""Packed tokens of one corpus, with the way back from any token to its document.

    <split>/NNNNN.bin         little-endian uint16 (uint32 above 65,536 ids), `num_sequences` rows of T + 1 ids
    <split>/NNNNN.bounds.npy  int32: `num_sequences` + 1 offsets, then what they point into: each sequence's cu_seqlens
    <split>/NNNNN.parquet     PIECES: which part of which document stands where, by sequence and start
    tokens.json               T, dtype, pad id, end id, and per split the sequences of each shard

`split` is "train" or "heldout"; shard NNNNN holds the documents of the source's shard NNNNN. A document's ids are its
text between two end ids. A sequence is one or several pieces, then padding. A document longer than a sequence goes on
in another piece that starts with the last id of the one before, so that every id but the leading end id is predicted
exactly once.

A position names one id of a split: sequence * (T + 1) + offset, its place in the .bin files laid end to end.
"""

import bisect
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PIECES = pa.schema(
    [
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("doc_start", pa.int64(), nullable=False),
        pa.field("doc_row", pa.int64(), nullable=False),
    ]
)
"""`sequence`: row in this shard; `start`, `length`: ids in the row; `doc_start`: position of the piece's first id
among the document's ids; `doc_row`: row of the document in the source's shard of the same number."""

INDEX = "tokens.json"
PIECES_PER_GROUP = 16_384
"""Rows of a row group of PIECES: what is read to look up one piece."""


@dataclass(frozen=True)
class TokensIndex:
    """What tokens.json says. `shards[split]` is the number of sequences of each shard; `text_bytes[split]` the
    UTF-8 bytes of the documents behind them; `num_tokens[split]` their ids without padding and repeats."""

    sequence_length: int
    dtype: str
    vocab_size: int
    end_id: int
    pad_id: int
    shards: dict[str, list[int]]
    text_bytes: dict[str, int]
    num_tokens: dict[str, int]

    def write(self, folder: Path) -> None:
        (folder / INDEX).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")


def id_dtype(vocab_size: int) -> str:
    """The narrowest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def write_token_shard(rows: Iterable[np.ndarray], pieces: pa.Table, folder: Path, split: str, shard: int) -> None:
    """Write one shard: `rows` are arrays of ids in the index's dtype, [T + 1] or [any, T + 1], and may be made as they
    are written; `pieces` is PIECES in row order."""
    home = folder / split
    home.mkdir(parents=True, exist_ok=True)
    num_sequences = 0
    with (home / f"{shard:05d}.bin").open("wb") as file:
        for block in rows:
            file.write(np.ascontiguousarray(block).data)
            num_sequences += len(block) if block.ndim == 2 else 1
    np.save(home / f"{shard:05d}.bounds.npy", _bounds(pieces, num_sequences))
    pq.write_table(
        pieces.cast(PIECES), home / f"{shard:05d}.parquet", compression="zstd", row_group_size=PIECES_PER_GROUP
    )


@dataclass(frozen=True)
class Piece:
    """A run of one document inside a sequence; fields as in PIECES."""

    start: int
    length: int
    doc_id: str
    doc_start: int
    doc_row: int


class TokenSequences:
    """One split of a corpus' packed sequences, numbered over all shards."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder / split
        self.index = TokensIndex(**json.loads((folder / INDEX).read_text(encoding="utf-8")))
        self._sizes = self.index.shards[split]
        self._ends = list(accumulate(self._sizes))
        self._rows: dict[int, np.ndarray] = {}
        self._bounds: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._tables: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def ids(self, sequence: int) -> np.ndarray:
        """The T + 1 ids of a sequence, uint16 or uint32, mapped from disk."""
        shard, row = self.locate(sequence)
        return self.rows(shard)[row]

    def cu_seqlens(self, sequence: int) -> np.ndarray:
        """int32 [pieces + 1]: where each piece of a sequence ends, after a 0; padding starts at the last. From disk."""
        shard, row = self.locate(sequence)
        offsets, cu_seqlens = self.bounds(shard)
        return cu_seqlens[offsets[row] : offsets[row + 1]]

    def segments(self, sequence: int) -> np.ndarray:
        """int32 [T + 1]: 0, 1, ... for the piece that each id belongs to, -1 for padding."""
        ends = self.cu_seqlens(sequence)
        segments = np.full(self.index.sequence_length + 1, -1, dtype=np.int32)
        segments[: ends[-1]] = np.repeat(np.arange(len(ends) - 1, dtype=np.int32), np.diff(ends))
        return segments

    def pieces(self, sequence: int) -> list[Piece]:
        """The documents of a sequence, by start. Keeps the shard's table for the next call."""
        shard, row = self.locate(sequence)
        if shard not in self._tables:
            self._tables[shard] = self.shard_pieces(shard)
        first, last = self._piece_rows(shard, row)
        return [_piece(found) for found in self._tables[shard].slice(first, last - first).to_pylist()]

    def piece_at(self, sequence: int, offset: int) -> Piece | None:
        """The piece that id `offset` of a sequence belongs to, None in the padding; reads one row group of PIECES."""
        shard, row = self.locate(sequence)
        number = int(np.searchsorted(self.cu_seqlens(sequence), offset, side="right")) - 1
        first, last = self._piece_rows(shard, row)
        if first + number >= last:
            return None
        group, within = divmod(first + number, PIECES_PER_GROUP)
        return _piece(pq.ParquetFile(self._pieces_file(shard)).read_row_group(group).slice(within, 1).to_pylist()[0])

    def locate(self, sequence: int) -> tuple[int, int]:
        """(shard, row in the shard) of a sequence. Raises IndexError."""
        if not 0 <= sequence < len(self):
            raise IndexError(f"{self.folder}: sequence {sequence} of {len(self)}")
        shard = bisect.bisect_right(self._ends, sequence)
        return shard, sequence - (self._ends[shard - 1] if shard else 0)

    @property
    def num_shards(self) -> int:
        return len(self._sizes)

    def shard_pieces(self, shard: int) -> pa.Table:
        """PIECES of a shard, from disk."""
        return pq.read_table(self._pieces_file(shard)).combine_chunks()

    def rows(self, shard: int) -> np.ndarray:
        """[num_sequences, T + 1] ids of a shard, mapped from disk."""
        if shard not in self._rows:
            # Plain arrays over the mapped bytes: slicing np.memmap takes several times as long.
            flat = np.asarray(np.memmap(self.folder / f"{shard:05d}.bin", dtype=self.index.dtype, mode="r"))
            self._rows[shard] = flat.reshape(-1, self.index.sequence_length + 1)
        return self._rows[shard]

    def bounds(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets [num_sequences + 1] and all cu_seqlens of a shard, end to end, int32, mapped from disk: those of row
        r are `cu_seqlens[offsets[r] : offsets[r + 1]]`."""
        if shard not in self._bounds:
            bounds = np.asarray(np.load(self.folder / f"{shard:05d}.bounds.npy", mmap_mode="r", allow_pickle=False))
            num_offsets = self._sizes[shard] + 1
            self._bounds[shard] = bounds[:num_offsets], bounds[num_offsets:]
        return self._bounds[shard]

    def _piece_rows(self, shard: int, row: int) -> tuple[int, int]:
        """First and last + 1 row of a sequence in PIECES: its cu_seqlens have one number more than it has pieces."""
        offsets, _ = self.bounds(shard)
        return int(offsets[row]) - row, int(offsets[row + 1]) - row - 1

    def _pieces_file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.parquet"


def positions_and_targets(ids: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [T] positions that restart at each piece, and int64 [T] targets, -1 where there is nothing to predict
    (padding, and the border between two documents)."""
    inside = segments[:-1]
    starts = np.flatnonzero(np.diff(inside, prepend=-2))
    positions = np.arange(len(inside)) - np.repeat(starts, np.diff(starts, append=len(inside)))
    predicts = (segments[1:] == inside) & (inside >= 0)
    return positions, np.where(predicts, ids[1:].astype(np.int64), -1)


def _piece(row: dict[str, Any]) -> Piece:
    return Piece(row["start"], row["length"], row["doc_id"], row["doc_start"], row["doc_row"])


def _bounds(pieces: pa.Table, num_sequences: int) -> np.ndarray:
    """Content of a .bounds.npy."""
    per_sequence = np.bincount(pieces["sequence"].to_numpy(), minlength=num_sequences)
    offsets = np.concatenate([[0], np.cumsum(per_sequence + 1)])
    cu_seqlens = np.zeros(offsets[-1], dtype=np.int32)
    is_end = np.ones(len(cu_seqlens), dtype=bool)
    is_end[offsets[:-1]] = False
    cu_seqlens[is_end] = pieces["start"].to_numpy() + pieces["length"].to_numpy()
    return np.concatenate([offsets, cu_seqlens]).astype(np.int32)
