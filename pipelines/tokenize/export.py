"""`arctic export tokens`: the documents of a packed corpus in the formats that other trainers read.

Documents are concatenated in the order of the source, each as its text and one end id, joined again if packing had
split them. Formats, with `target` before the suffix:

    megatron    .bin, .idx            Megatron-LM's IndexedDataset, version 1: one sequence a document
    datatrove   .ds, .ds.index        datatrove's TokenizedFile: ids, and uint64 ends of documents
    olmo        .npy, .csv.gz         dolma's and OLMo-core's: ids without a header, and start,end,id,src,loc a document
    npy         .npy                  one NumPy array of ids

Each has a .documents.parquet (EXPORTED) with the offsets of its documents, in the names of the source.
"""

import csv
import gzip
import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store import Store
from infra.store.integrity import require_intact
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.errors import NotInStoreError, OptionError

EXPORTED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("doc_shard", pa.int32(), nullable=False),
        pa.field("doc_row", pa.int64(), nullable=False),
    ]
)
"""`start`, `end`: ids of the export; `doc_shard`, `doc_row`: shard of the source, and row in it."""
CSV_COLUMNS = ("start", "end", "doc_id", "doc_shard", "doc_row")
MEGATRON_UINT16_VOCABULARY = 65_500
"""Megatron's own limit for uint16 ids (`DType.optimal_dtype`); above it they are int32."""


@dataclass(frozen=True)
class Export:
    """The written files and counts."""

    files: tuple[Path, ...]
    documents: int
    tokens: int


def export_corpus(store: Store, corpus: str, out: Path, form: str, split: str) -> Export:
    """Write the packed tokens of the corpus `corpus` that was built last, or of a result by its key.

    Raises NotInStoreError if the store has no such tokens, OptionError for another split or form.
    """
    named = [
        artifact
        for artifact in store.artifacts()
        if artifact.manifest.name == "tokenize" and corpus in (artifact.manifest.subject, artifact.manifest.key)
    ]
    if not named:
        raise NotInStoreError(
            f"store {store.root}: no tokens of {corpus!r}. Run a recipe with this corpus until tokenize."
        )
    if split not in (TRAIN, HELDOUT):
        raise OptionError(f"--split {split!r}: there are {TRAIN} and {HELDOUT}.")
    latest = max(named, key=lambda artifact: artifact.made)
    try:
        return export_tokens(latest.path, split, form, out)
    except ValueError as error:
        raise OptionError(str(error)) from None


def export_tokens(artifact: Path, split: str, form: str, target: Path) -> Export:
    """Write one split of the output of `tokenize` as `form`, one of FORMATS. Raises ValueError for another form."""
    if form not in FORMATS:
        raise ValueError(f"export format {form!r}: not known. Choose one of {', '.join(FORMATS)}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    sequences = TokenSequences(artifact, split)
    documents = _suffixed(target, ".documents.parquet")
    lengths = _write_documents(sequences, documents)
    files = FORMATS[form](sequences, lengths, target)
    return Export((*files, documents), len(lengths), int(lengths.sum()))


def _megatron(sequences: TokenSequences, lengths: np.ndarray, target: Path) -> list[Path]:
    """Layout of `_IndexWriter` in megatron/core/datasets/indexed_dataset.py."""
    dtype, code = ("<u2", 8) if sequences.index.vocab_size < MEGATRON_UINT16_VOCABULARY else ("<i4", 4)
    starts = np.cumsum(lengths) - lengths
    ids_file, index_file = _suffixed(target, ".bin"), _suffixed(target, ".idx")
    with ids_file.open("wb") as file:
        _write_ids(sequences, file, dtype)
    with index_file.open("wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write((starts * np.dtype(dtype).itemsize).astype("<i8").tobytes())
        file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
    return [ids_file, index_file]


def _datatrove(sequences: TokenSequences, lengths: np.ndarray, target: Path) -> list[Path]:
    ids_file, index_file = _suffixed(target, ".ds"), _suffixed(target, ".ds.index")
    with ids_file.open("wb") as file:
        _write_ids(sequences, file, sequences.index.dtype)
    index_file.write_bytes(np.cumsum(lengths).astype("<u8").tobytes())
    return [ids_file, index_file]


def _olmo(sequences: TokenSequences, lengths: np.ndarray, target: Path) -> list[Path]:  # noqa: ARG001 - as the others
    ids_file, index_file = _suffixed(target, ".npy"), _suffixed(target, ".csv.gz")
    with ids_file.open("wb") as file:
        _write_ids(sequences, file, sequences.index.dtype)
    # No time in the header: the same tokens give the same bytes.
    with (
        index_file.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as lines,
    ):
        rows = csv.writer(lines)
        for batch in pq.ParquetFile(_suffixed(target, ".documents.parquet")).iter_batches():
            for start, end, doc_id, shard, row in zip(*(batch[name].to_pylist() for name in CSV_COLUMNS), strict=True):
                rows.writerow([start, end, doc_id, f"documents/{shard:05d}.parquet", row])
    return [ids_file, index_file]


def _npy(sequences: TokenSequences, lengths: np.ndarray, target: Path) -> list[Path]:
    ids_file = _suffixed(target, ".npy")
    dtype = np.dtype(sequences.index.dtype).newbyteorder("<")
    with ids_file.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (int(lengths.sum()),)}
        np.lib.format.write_array_header_1_0(file, header)
        _write_ids(sequences, file, dtype.str)
    return [ids_file]


FORMATS: Mapping[str, Callable[[TokenSequences, np.ndarray, Path], list[Path]]] = {
    "megatron": _megatron,
    "datatrove": _datatrove,
    "olmo": _olmo,
    "npy": _npy,
}


def _write_documents(sequences: TokenSequences, file: Path) -> np.ndarray:
    """Write EXPORTED in the order of the export; returns the ids that each document has there."""
    lengths = [np.empty(0, dtype=np.int64)]
    end = 0
    with pq.ParquetWriter(file, EXPORTED, compression="zstd") as writer:
        for shard in range(sequences.num_shards):
            pieces = _in_order(sequences, shard)
            firsts = np.flatnonzero(pieces["doc_start"].to_numpy() == 0)
            if len(firsts):
                lengths.append(np.add.reduceat(pieces["length"].to_numpy().astype(np.int64) - 1, firsts))
                ends = end + np.cumsum(lengths[-1])
                first_pieces = pieces.take(pa.array(firsts))
                shards = np.full(len(firsts), shard)
                columns = [first_pieces["doc_id"], ends - lengths[-1], ends, shards, first_pieces["doc_row"]]
                writer.write_table(pa.table(columns, names=EXPORTED.names).cast(EXPORTED))
                end = ends[-1]
    return np.concatenate(lengths)


def _write_ids(sequences: TokenSequences, file: BinaryIO, dtype: str) -> None:
    """All ids in the order of the export. The first of each piece is the leading end id of its document, or the last
    of the piece before."""
    for shard in range(sequences.num_shards):
        pieces = _in_order(sequences, shard)
        if len(pieces):
            require_intact(sequences.folder / f"{shard:05d}.bin")
            rows = np.asarray(sequences.rows(shard))
            columns = (pieces[name].to_pylist() for name in ("sequence", "start", "length"))
            for sequence, start, length in zip(*columns, strict=True):
                file.write(rows[sequence, start + 1 : start + length].astype(dtype, copy=False).data)


def _in_order(sequences: TokenSequences, shard: int) -> pa.Table:
    return sequences.shard_pieces(shard).sort_by([("doc_row", "ascending"), ("doc_start", "ascending")])


def _suffixed(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)
