"""Many packed sequences at once, as the model takes them: straight from the mapped files, no loop over documents."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.artifacts.tokenization.tokens import TokenSequences


class Rows(NamedTuple):
    """[n, T] each: int64 ids, int64 positions that restart at each piece, int32 segments (0, 1, ... by piece, -1 for
    padding), int64 targets (-1 if there is nothing to predict: padding, the border between two documents, ids that are
    not trained)."""

    ids: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    targets: np.ndarray


def read_rows(corpora: Sequence[TokenSequences], which: np.ndarray, sequences: np.ndarray) -> Rows:
    """Row i is sequence `sequences[i]` of `corpora[which[i]]`. All corpora have one T."""
    width = corpora[0].index.sequence_length + 1
    raw = np.empty((len(sequences), width), dtype=np.result_type(*(corpus.index.dtype for corpus in corpora)))
    ends = []
    untrained = []
    for row, (corpus, sequence) in enumerate(zip(which.tolist(), sequences.tolist(), strict=True)):
        source = corpora[corpus]
        raw[row] = source.ids(sequence)
        ends.append(source.cu_seqlens(sequence))
        if source.index.marks_trained:
            untrained.append((row, ~source.trained(sequence)[1:]))
    rows = _rows(raw, ends)
    for row, places in untrained:
        rows.targets[row, places] = -1
    return rows


def _rows(raw: np.ndarray, cu_seqlens: Sequence[np.ndarray]) -> Rows:
    """`cu_seqlens[i]` are those of row i: 0, then the end of each piece."""
    count, length = len(raw), raw.shape[1] - 1
    parts = np.array([len(row) for row in cu_seqlens])
    bounds = np.concatenate(cu_seqlens)
    # From each bound to the next lies a piece; from a row's last bound to its end the padding, which may be empty.
    last = np.cumsum(parts) - 1
    starts = np.minimum(bounds, length)
    stops = np.append(starts[1:], 0)
    stops[last] = length
    numbers = np.arange(len(bounds), dtype=np.int32) - np.repeat(last + 1 - parts, parts).astype(np.int32)
    numbers[last] = -1
    sizes = stops - starts
    segments = np.repeat(numbers, sizes).reshape(count, length)
    positions = np.repeat(starts.astype(np.int64), sizes).reshape(count, length)
    np.subtract(np.arange(length), positions, out=positions)
    targets = raw[:, 1:].astype(np.int64)
    ends = (bounds > 0) & (bounds <= length)
    targets[np.repeat(np.arange(count), parts)[ends], bounds[ends] - 1] = -1
    for row, end in enumerate(bounds[last].tolist()):
        targets[row, end:] = -1
    return Rows(raw[:, :-1].astype(np.int64), positions, segments, targets)
