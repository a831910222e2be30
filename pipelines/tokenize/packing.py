"""Documents of any length into rows of one length: best fit, longest first.

Best-fit-decreasing keeps documents whole and rows full (Ding et al. 2024, "Fewer Truncations Improve Language
Modeling", arXiv 2404.10830, section 3). Only a document longer than a row is split.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Placed(NamedTuple):
    """Ids `doc_start` .. `doc_start + length - 1` of document number `document`, at `start` of row `row`."""

    row: int
    start: int
    length: int
    document: int
    doc_start: int


def pack(lengths: Sequence[int], row_length: int) -> list[Placed]:
    """Place documents of `lengths` ids (at least 2 each) into rows of `row_length`; sorted by row and start.

    A longer document is split into pieces that overlap by one id, so that each id but its first is predicted once.
    """
    pieces = [piece for document, length in enumerate(lengths) for piece in _split(document, length, row_length)]
    pieces.sort(key=lambda piece: (-piece[2], piece[0], piece[1]))
    rows_by_space: list[list[int]] = [[] for _ in range(row_length + 1)]
    # Bit s of `spaces` is set where some row has s free ids: the best fit is the lowest set bit from `length` up.
    spaces = 0
    num_rows = 0
    placed = []
    for document, doc_start, length in pieces:
        fitting = spaces >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            row = rows_by_space[space].pop()
            spaces ^= (not rows_by_space[space]) << space
        else:
            row, space = num_rows, row_length
            num_rows += 1
        placed.append(Placed(row, row_length - space, length, document, doc_start))
        rows_by_space[space - length].append(row)
        spaces |= 1 << (space - length)
    return sorted(placed)


def fill_rows(documents: Sequence[np.ndarray], placed: Sequence[Placed], row_length: int, pad_id: int) -> np.ndarray:
    """The ids of every row, int64 [rows, row_length], padded at the end."""
    num_rows = placed[-1].row + 1 if placed else 0
    rows = np.full((num_rows, row_length), pad_id, dtype=np.int64)
    for row, start, length, document, doc_start in placed:
        rows[row, start : start + length] = documents[document][doc_start : doc_start + length]
    return rows


def _split(document: int, length: int, row_length: int) -> list[tuple[int, int, int]]:
    """(document, first id, ids) of its pieces."""
    return [
        (document, first, min(row_length, length - first)) for first in range(0, max(1, length - 1), row_length - 1)
    ]
