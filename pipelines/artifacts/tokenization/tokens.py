"""Packed tokens of one corpus, with the way back from any token to its document.

    <split>/NNNNN.bin         little-endian uint16 (uint32 above 65,536 ids), `num_sequences` rows of T + 1 ids
    <split>/NNNNN.bounds.npy  int32: `num_sequences` + 1 offsets; CRC-32 of each sequence's ids, then of each one's
                              cu_seqlens; then the data of the offsets: each sequence's cu_seqlens
    <split>/NNNNN.parquet     PIECES: the part of a document in each piece, by sequence and start
    <split>/NNNNN.trained.npy uint8: a bit for each id of a sequence, 1 if it is to be predicted; conversations only
    tokens.json               T, dtype, pad id, end id, and per split the sequences of each shard

`split` is "train" or "heldout"; shard NNNNN holds the documents of the source's shard NNNNN. A document's ids are its
text between two end ids. A sequence is one or several pieces, then padding. A document longer than a sequence continues
in another piece that starts with the last id of the previous one, so that every id but the leading end id is predicted
exactly once.

A position names one id of a split: sequence * (T + 1) + offset, its index in the concatenated .bin files.
"""

import bisect
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from infra.store.integrity import damage_named, read_committed, require_intact
from pipelines.artifacts.formats.arrays import load_array
from pipelines.artifacts.formats.parquet import ParquetFile, read_table, write_table

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
"""Rows of a row group of PIECES, which is the unit that a lookup of one piece reads."""


@dataclass(frozen=True)
class TokensIndex:
    """The content of tokens.json. `shards[split]` is the number of sequences of each shard; `text_bytes[split]` the
    UTF-8 bytes of the documents behind them; `num_tokens[split]` their ids without padding and repeats;
    `marks_trained`: whether some ids are read and not trained, as the user's turns of conversations are; `pairs`:
    whether documents are pairs of answers, each two pieces in one sequence, the better side first."""

    sequence_length: int
    dtype: str
    vocab_size: int
    end_id: int
    pad_id: int
    shards: dict[str, list[int]]
    text_bytes: dict[str, int]
    num_tokens: dict[str, int]
    marks_trained: bool = False
    pairs: bool = False

    def write(self, folder: Path) -> None:
        fields = asdict(self)
        for name in ("marks_trained", "pairs"):
            if not fields[name]:
                del fields[name]
        (folder / INDEX).write_text(json.dumps(fields, indent=1, sort_keys=True), encoding="utf-8")


def packing_subject(corpus: str, sequence_length: int) -> str:
    """Subject of the stage that packs a corpus again into sequences of this length."""
    return f"{corpus}@{sequence_length}"


def id_dtype(vocab_size: int) -> str:
    """The narrowest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def write_token_shard(rows: Iterable[np.ndarray], pieces: pa.Table, folder: Path, split: str, shard: int) -> None:
    """Write one shard: `rows` are arrays of ids in the index's dtype, [T + 1] or [any, T + 1], and may be made as they
    are written; `pieces` is PIECES in row order."""
    home = folder / split
    home.mkdir(parents=True, exist_ok=True)
    checksums: list[int] = []
    with (home / f"{shard:05d}.bin").open("wb") as file:
        for block in rows:
            content = np.ascontiguousarray(block)
            file.write(content.data)
            checksums += map(zlib.crc32, content if content.ndim == 2 else [content])
    np.save(home / f"{shard:05d}.bounds.npy", _bounds(pieces, checksums))
    write_table(pieces.cast(PIECES), home / f"{shard:05d}.parquet", row_group_size=PIECES_PER_GROUP)


def write_trained_marks(rows: Iterable[np.ndarray], folder: Path, split: str, shard: int) -> None:
    """Write which ids of a shard are trained: `rows` are bool or 0 and 1, [any, T + 1]."""
    blocks = [np.packbits(block.astype(bool), axis=1) for block in rows]
    marks = np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.uint8)
    np.save(folder / split / f"{shard:05d}.trained.npy", marks)


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
        self.index = TokensIndex(**json.loads(read_committed(folder / INDEX)))
        self._sizes = self.index.shards[split]
        self._ends = list(accumulate(self._sizes))
        self._rows: dict[int, np.ndarray] = {}
        self._bounds: dict[int, _Bounds] = {}
        self._tables: dict[int, pa.Table] = {}
        self._marks: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def ids(self, sequence: int) -> np.ndarray:
        """The T + 1 ids of a sequence, uint16 or uint32, mapped from disk."""
        shard, row = self.locate(sequence)
        ids: np.ndarray = self.rows(shard)[row]
        if zlib.crc32(ids.data) != self.bounds(shard).ids_checksums[row]:
            self._raise_damage(shard, row)
        return ids

    def cu_seqlens(self, sequence: int) -> np.ndarray:
        """int32 [pieces + 1]: the end of each piece of a sequence, after a 0; padding starts at the last. From disk."""
        shard, row = self.locate(sequence)
        bounds = self.bounds(shard)
        first, last = bounds.offsets[row], bounds.offsets[row + 1]
        cu_seqlens = bounds.cu_seqlens[first:last]
        # A slice takes offsets before the begin or beyond the end for these.
        is_inside = 0 <= first <= last <= len(bounds.cu_seqlens)
        if not is_inside or zlib.crc32(cu_seqlens.data) != bounds.cu_seqlens_checksums[row]:
            self._raise_damage(shard, row)
        return cu_seqlens

    def trained(self, sequence: int) -> np.ndarray:
        """bool [T + 1]: whether each id of a sequence is trained. From disk."""
        if not self.index.marks_trained:
            return np.ones(self.index.sequence_length + 1, dtype=bool)
        shard, row = self.locate(sequence)
        if shard not in self._marks:
            file = self.folder / f"{shard:05d}.trained.npy"
            require_intact(file)
            self._marks[shard] = load_array(file)
        return np.unpackbits(self._marks[shard][row], count=self.index.sequence_length + 1).astype(bool)

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
        # Checks the offsets that lead to the rows.
        self.cu_seqlens(sequence)
        first, last = self._piece_rows(shard, row)
        return [_piece(record) for record in self._tables[shard].slice(first, last - first).to_pylist()]

    def piece_at(self, sequence: int, offset: int) -> Piece | None:
        """The piece that id `offset` of a sequence belongs to, None in the padding; reads one row group of PIECES."""
        shard, row = self.locate(sequence)
        number = int(np.searchsorted(self.cu_seqlens(sequence), offset, side="right")) - 1
        first, last = self._piece_rows(shard, row)
        if first + number >= last:
            return None
        group, within = divmod(first + number, PIECES_PER_GROUP)
        return _piece(ParquetFile(self._pieces_file(shard)).read_row_group(group).slice(within, 1).to_pylist()[0])

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
        return read_table(self._pieces_file(shard)).combine_chunks()

    def rows(self, shard: int) -> np.ndarray:
        """[num_sequences, T + 1] ids of a shard, mapped from disk."""
        if shard not in self._rows:
            # Plain arrays over the mapped bytes: slicing np.memmap takes several times as long.
            file = self.folder / f"{shard:05d}.bin"
            with damage_named(file):
                flat = np.asarray(np.memmap(file, dtype=self.index.dtype, mode="r"))
                self._rows[shard] = flat.reshape(-1, self.index.sequence_length + 1)
        return self._rows[shard]

    def bounds(self, shard: int) -> "_Bounds":
        """Ends of the pieces of a shard's sequences, with their checksums; mapped from disk."""
        if shard not in self._bounds:
            file, count = self.folder / f"{shard:05d}.bounds.npy", self._sizes[shard]
            with damage_named(file):
                content = np.asarray(load_array(file))
                offsets, checksums = content[: count + 1], content[count + 1 : 3 * count + 1].view(np.uint32)
            self._bounds[shard] = _Bounds(offsets, checksums[:count], checksums[count:], content[3 * count + 1 :])
        return self._bounds[shard]

    def _raise_damage(self, shard: int, row: int) -> NoReturn:
        for file in (self.folder / f"{shard:05d}.bin", self.folder / f"{shard:05d}.bounds.npy"):
            require_intact(file)
        raise ValueError(f"{self.folder}/{shard:05d}.bin: sequence {row} does not fit its checksum. Tokenize again.")

    def _piece_rows(self, shard: int, row: int) -> tuple[int, int]:
        """First and last + 1 row of a sequence in PIECES: its cu_seqlens have one number more than it has pieces."""
        offsets = self.bounds(shard).offsets
        return int(offsets[row]) - row, int(offsets[row + 1]) - row - 1

    def _pieces_file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.parquet"


def positions_and_targets(ids: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [T] positions that restart at each piece, and int64 [T] targets, -1 if there is nothing to predict
    (padding, and the border between two documents)."""
    inside = segments[:-1]
    starts = np.flatnonzero(np.diff(inside, prepend=-2))
    positions = np.arange(len(inside)) - np.repeat(starts, np.diff(starts, append=len(inside)))
    predicts = (segments[1:] == inside) & (inside >= 0)
    return positions, np.where(predicts, ids[1:].astype(np.int64), -1)


def _piece(row: dict[str, Any]) -> Piece:
    return Piece(row["start"], row["length"], row["doc_id"], row["doc_start"], row["doc_row"])


class _Bounds(NamedTuple):
    """`offsets` [n + 1] point into `cu_seqlens`: those of row r are `cu_seqlens[offsets[r] : offsets[r + 1]]`; CRC-32
    [n] of each row's ids and cu_seqlens."""

    offsets: np.ndarray
    ids_checksums: np.ndarray
    cu_seqlens_checksums: np.ndarray
    cu_seqlens: np.ndarray


def _bounds(pieces: pa.Table, ids_checksums: Sequence[int]) -> np.ndarray:
    """Content of a .bounds.npy."""
    per_sequence = np.bincount(pieces["sequence"].to_numpy(), minlength=len(ids_checksums))
    offsets = np.concatenate([[0], np.cumsum(per_sequence + 1)])
    cu_seqlens = np.zeros(offsets[-1], dtype=np.int32)
    is_end = np.ones(len(cu_seqlens), dtype=bool)
    is_end[offsets[:-1]] = False
    cu_seqlens[is_end] = pieces["start"].to_numpy() + pieces["length"].to_numpy()
    checksums = np.zeros((2, len(per_sequence)), dtype=np.uint32)
    checksums[0, : len(ids_checksums)] = ids_checksums
    checksums[1] = [zlib.crc32(part.data) for part in np.split(cu_seqlens, offsets[1:-1])] if len(per_sequence) else []
    return np.concatenate([offsets.astype(np.int32), checksums.view(np.int32).ravel(), cu_seqlens])
