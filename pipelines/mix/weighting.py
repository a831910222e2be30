"""Values of packed sequences from those of their documents, and how often one pass reads each sequence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts.documents import TRAIN, shard_paths
from pipelines.artifacts.formats.parquet import read_table

QUALITY, CLUSTER_SIZE = "quality", "cluster_size"


def sequence_means(
    tokens: Path, sidecars: Sequence[Path], column: str, table: Sequence[Sequence[int]] = ()
) -> np.ndarray:
    """float64 [sequences]: mean of `column` over the tokens of each training sequence in the artifact `tokens`.

    `sidecars` have a row for each document, shard by shard as the documents are. With `table`, a list of (from, value)
    in ascending order, the column's values are looked up in it first. Raises ValueError if the column is missing.
    """
    means = [np.zeros(0)]
    for pieces_file, sidecar in zip(shard_paths(tokens, TRAIN), sidecars, strict=True):
        values = _column(sidecar, column)
        if len(table):
            sizes, copies = np.array(table, dtype=np.float64).T
            values = copies[np.searchsorted(sizes, values, side="right") - 1]
        pieces = read_table(pieces_file, columns=["sequence", "length", "doc_row"])
        sequence, length = pieces["sequence"].to_numpy(), pieces["length"].to_numpy()
        weighted = np.bincount(sequence, length * values[pieces["doc_row"].to_numpy()])
        means.append(weighted / np.bincount(sequence, length))
    return np.concatenate(means)


def long_document_copies(tokens: Path, base_length: int, factor: float) -> np.ndarray:
    """float64 [sequences]: copies of each training sequence in the artifact `tokens`, from 1 to `factor` by the share
    of its tokens whose documents have more than `base_length` + 1 ids."""
    means = [np.zeros(0)]
    for pieces_file in shard_paths(tokens, TRAIN):
        pieces = read_table(pieces_file, columns=["sequence", "length", "doc_start", "doc_row"])
        sequence, length, start, row = (column.to_numpy().astype(np.int64) for column in pieces.columns)
        num_ids = np.zeros(row.max(initial=-1) + 1, dtype=np.int64)
        np.maximum.at(num_ids, row, start + length)
        is_long = num_ids[row] > base_length + 1
        means.append(1 + (factor - 1) * np.bincount(sequence, length * is_long) / np.bincount(sequence, length))
    return np.concatenate(means)


def summed_copies(rehydration: np.ndarray, quality: np.ndarray, power: float) -> np.ndarray:
    """int64 [sequences]: copies of sequences 0 .. i in one pass, summed; the plan's `copies`.

    `rehydration` are wanted copies (1 if there is no such wish), rounded half up, at least 1; their sum is the length
    of a pass. `power` > 0 shares that length out again in proportion to repeats x quality ** power: sequence i gets
    floor(C[i] + 1/2) - floor(C[i - 1] + 1/2) of the running sum C of the exact shares (systematic sampling, Madow and
    Madow 1944), so each is less than one from its exact share and the sum is unchanged. Raises ValueError if no
    sequence has any quality.
    """
    copies = np.maximum(1, np.floor(rehydration + 0.5)).astype(np.int64)
    summed = np.cumsum(copies)
    if power == 0 or not len(copies):
        return summed
    exact = np.cumsum(copies * quality**power)
    if not exact[-1] > 0:
        raise ValueError("no sequence has a quality above 0. Set score.quality_model of the corpus.")
    shared: np.ndarray = np.floor(exact * (summed[-1] / exact[-1]) + 0.5).astype(np.int64)
    shared[-1] = summed[-1]
    return shared


def _column(sidecar: Path, column: str) -> np.ndarray:
    is_number = pa.types.is_integer, pa.types.is_floating
    numeric = [field.name for field in pq.read_schema(sidecar) if any(kind(field.type) for kind in is_number)]
    if column not in numeric:
        raise ValueError(f"there is no numeric score {column!r}. Choose one of {', '.join(numeric)}.")
    values = read_table(sidecar, columns=[column])[column]
    if values.null_count:
        raise ValueError(
            f"the score {column!r} is not measured on every document: {values.null_count} are in a language that "
            "cannot have it. Choose another score."
        )
    quality: np.ndarray = values.to_numpy().astype(np.float64)
    return quality
