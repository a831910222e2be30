"""Packed tokens of one corpus, with the way back from any token to its document.

    <split>/NNNNN.bin       little-endian uint16 (uint32 above 65,536 ids), `num_sequences` rows of T + 1 ids
    <split>/NNNNN.parquet   PIECES: which part of which document stands where, by sequence and start
    tokens.json             T, dtype, pad id, end id, and per split the sequences of each shard

`split` is "train" or "heldout". A document's ids are its text between two end ids. A sequence is one or several
pieces, then padding. A document longer than a sequence goes on in another piece that starts with the last id of
the one before, so that every id but the leading end id is predicted exactly once.
"""

import bisect
import json
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

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
    ]
)
"""`sequence`: row in this shard; `start`, `length`: ids in the row; `doc_start`: position of the piece's first id
among the document's ids."""

INDEX = "tokens.json"


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


def write_token_shard(rows: np.ndarray, pieces: pa.Table, folder: Path, split: str, shard: int) -> None:
    """Write one shard: `rows` is [num_sequences, T + 1] in the index's dtype, `pieces` is PIECES in row order."""
    home = folder / split
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{shard:05d}.bin").write_bytes(np.ascontiguousarray(rows).tobytes())
    pq.write_table(pieces.cast(PIECES), home / f"{shard:05d}.parquet", compression="zstd")


@dataclass(frozen=True)
class Piece:
    """A run of one document inside a sequence."""

    start: int
    length: int
    doc_id: str
    doc_start: int


class TokenSequences:
    """One split of a corpus' packed sequences, numbered over all shards."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder / split
        self.index = TokensIndex(**json.loads((folder / INDEX).read_text(encoding="utf-8")))
        self._ends = list(accumulate(self.index.shards[split]))
        self._rows: dict[int, np.ndarray] = {}
        self._pieces: dict[int, tuple[np.ndarray, pa.Table]] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def ids(self, sequence: int) -> np.ndarray:
        """The T + 1 ids of a sequence, uint16 or uint32, mapped from disk."""
        shard, row = self._locate(sequence)
        if shard not in self._rows:
            flat = np.memmap(self.folder / f"{shard:05d}.bin", dtype=self.index.dtype, mode="r")
            self._rows[shard] = flat.reshape(-1, self.index.sequence_length + 1)
        return self._rows[shard][row]

    def pieces(self, sequence: int) -> list[Piece]:
        """The documents of a sequence, by start."""
        first, last, table = self._piece_rows(sequence)
        part = table.slice(first, last - first)
        columns = (part[name].to_pylist() for name in ("start", "length", "doc_id", "doc_start"))
        return [Piece(*values) for values in zip(*columns, strict=True)]

    def segments(self, sequence: int) -> np.ndarray:
        """int32 [T + 1]: 0, 1, ... for the piece that each id belongs to, -1 for padding."""
        first, last, table = self._piece_rows(sequence)
        lengths = table["length"].to_numpy()[first:last]
        segments = np.full(self.index.sequence_length + 1, -1, dtype=np.int32)
        segments[: lengths.sum()] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        return segments

    def _piece_rows(self, sequence: int) -> tuple[int, int, pa.Table]:
        shard, row = self._locate(sequence)
        if shard not in self._pieces:
            table = pq.read_table(self.folder / f"{shard:05d}.parquet").combine_chunks()
            self._pieces[shard] = (table["sequence"].to_numpy(), table)
        sequences, table = self._pieces[shard]
        first, last = np.searchsorted(sequences, [row, row + 1])
        return int(first), int(last), table

    def _locate(self, sequence: int) -> tuple[int, int]:
        if not 0 <= sequence < len(self):
            raise IndexError(f"{self.folder}: sequence {sequence} of {len(self)}")
        shard = bisect.bisect_right(self._ends, sequence)
        return shard, sequence - (self._ends[shard - 1] if shard else 0)


def positions_and_targets(ids: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [T] positions that restart at each piece, and int64 [T] targets, -1 where there is nothing to predict
    (padding, and the border between two documents)."""
    inside = segments[:-1]
    starts = np.flatnonzero(np.diff(inside, prepend=-2))
    positions = np.arange(len(inside)) - np.repeat(starts, np.diff(starts, append=len(inside)))
    predicts = (segments[1:] == inside) & (inside >= 0)
    return positions, np.where(predicts, ids[1:].astype(np.int64), -1)
