"""Documents of any length into rows of one length: best fit, longest first.

Best-fit-decreasing keeps documents whole and rows full (Ding et al. 2024, "Fewer Truncations Improve Language
Modeling", arXiv 2404.10830, section 3). Only a document longer than a row is split.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROWS_PER_BLOCK = 256
"""Rows that are filled at a time: a few MB at the usual lengths."""


@dataclass(frozen=True)
class Placement:
    """The positions of ids, one entry a piece, sorted by row and start; int64 [P] each.

    Ids `doc_start` .. `doc_start + length - 1` of document number `document` are at `start` of row `row`.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    document: np.ndarray
    doc_start: np.ndarray

    @property
    def num_rows(self) -> int:
        return int(self.row[-1]) + 1 if len(self.row) else 0


def pack(lengths: np.ndarray, row_length: int) -> Placement:
    """Place documents of `lengths` ids (int64 [N], at least 2 each) into rows of `row_length`.

    A longer document is split into pieces that overlap by one id, so that each id but its first is predicted once.
    """
    document, doc_start, length = _pieces(lengths, row_length)
    longest_first = np.lexsort((doc_start, document, -length))
    row, start = _best_fit(length[longest_first].tolist(), row_length)
    order = np.lexsort((start, row))
    sorted_pieces = longest_first[order]
    return Placement(row[order], start[order], length[sorted_pieces], document[sorted_pieces], doc_start[sorted_pieces])


def fill_rows(
    ids: np.ndarray, lengths: np.ndarray, placement: Placement, row_length: int, pad_id: int
) -> Iterator[np.ndarray]:
    """The rows in order, in blocks [rows, row_length] of the dtype of `ids`, padded at the end.

    `ids` are those of all documents end to end, `lengths` how many each has.
    """
    first_id = (np.cumsum(lengths) - lengths)[placement.document] + placement.doc_start
    for first in range(0, placement.num_rows, ROWS_PER_BLOCK):
        last = min(first + ROWS_PER_BLOCK, placement.num_rows)
        block = np.full((last - first, row_length), pad_id, dtype=ids.dtype)
        pieces = slice(*np.searchsorted(placement.row, [first, last]))
        columns = (placement.row[pieces] - first, placement.start[pieces], placement.length[pieces], first_id[pieces])
        for row, start, length, source in zip(*(column.tolist() for column in columns), strict=True):
            block[row, start : start + length] = ids[source : source + length]
        yield block


def _pieces(lengths: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(document, first id, ids) of all pieces, in the order of the documents."""
    stride = row_length - 1
    num_pieces = np.maximum(1, -(-(lengths - 1) // stride))
    document = np.repeat(np.arange(len(lengths)), num_pieces)
    within = np.arange(len(document)) - np.repeat(np.cumsum(num_pieces) - num_pieces, num_pieces)
    doc_start = within * stride
    return document, doc_start, np.minimum(row_length, lengths[document] - doc_start)


def _best_fit(lengths: list[int], row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, start) of each piece, in the order given."""
    rows_by_space: list[list[int]] = [[] for _ in range(row_length + 1)]
    # Bit s of `spaces` is set if some row has s free ids: the best fit is the lowest set bit from `length` up.
    spaces = 0
    num_rows = 0
    rows = []
    starts = []
    for length in lengths:
        fitting = spaces >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            row = rows_by_space[space].pop()
            spaces ^= (not rows_by_space[space]) << space
        else:
            row, space = num_rows, row_length
            num_rows += 1
        rows.append(row)
        starts.append(row_length - space)
        rows_by_space[space - length].append(row)
        spaces |= 1 << (space - length)
    return np.array(rows, dtype=np.int64), np.array(starts, dtype=np.int64)
