"""Packing loses nothing, cuts only documents that are too long, and fills rows well."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokenize.packing import Placement, fill_rows, pack

ROW = 17
lengths_strategy = st.lists(st.integers(2, 60), max_size=40)


class Piece(NamedTuple):
    row: int
    start: int
    length: int
    document: int
    doc_start: int


def placed(lengths: list[int], row_length: int = ROW) -> list[Piece]:
    placement = pack(np.array(lengths, dtype=np.int64), row_length)
    columns = (getattr(placement, name).tolist() for name in Piece._fields)
    return [Piece(*values) for values in zip(*columns, strict=True)]


@given(lengths_strategy)
def test_every_id_but_the_leading_end_is_predicted_exactly_once(lengths: list[int]) -> None:
    predicted = Counter(
        (piece.document, piece.doc_start + offset) for piece in placed(lengths) for offset in range(1, piece.length)
    )
    expected = {(document, index) for document, length in enumerate(lengths) for index in range(1, length)}
    assert set(predicted) == expected
    assert max(predicted.values(), default=1) == 1


@given(lengths_strategy)
def test_pieces_never_overlap_and_rows_have_no_hole(lengths: list[int]) -> None:
    pieces = placed(lengths)
    assert pieces == sorted(pieces)
    end: dict[int, int] = {}
    for piece in pieces:
        assert piece.start == end.get(piece.row, 0)
        end[piece.row] = piece.start + piece.length
    assert all(stop <= ROW for stop in end.values())
    assert sorted(end) == list(range(len(end)))


@given(lengths_strategy)
def test_documents_that_fit_are_whole_and_long_ones_are_cut_into_the_fewest_pieces(lengths: list[int]) -> None:
    pieces = Counter(piece.document for piece in placed(lengths))
    for document, length in enumerate(lengths):
        assert pieces[document] == -(-(length - 1) // (ROW - 1))


@given(st.lists(st.integers(2, 24), max_size=60))
def test_rows_are_those_of_plain_best_fit_decreasing(lengths: list[int]) -> None:
    rows: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row, free in enumerate(rows) if free >= length]
        if fitting:
            rows[min(fitting, key=lambda row: rows[row])] -= length
        else:
            rows.append(24 - length)
    used: Counter[int] = Counter()
    for piece in placed(lengths, 24):
        used[piece.row] += piece.length
    assert sorted(24 - free for free in rows) == sorted(used.values())


def test_rows_of_web_like_lengths_are_full() -> None:
    # log-normal lengths with a median of 600 ids, as of English web pages, in shards of 5,000 documents
    lengths = np.random.default_rng(0).lognormal(np.log(600), 1.1, 5000).astype(int) + 2
    placement = pack(lengths, 4097)
    assert placement.length.sum() / (placement.num_rows * 4097) > 0.995


@given(lengths_strategy)
def test_filled_rows_have_each_id_where_the_pieces_say_and_padding_elsewhere(lengths: list[int]) -> None:
    documents = [np.arange(1000 * number, 1000 * number + length) for number, length in enumerate(lengths, start=1)]
    expected: dict[int, list[int]] = {}
    for piece in placed(lengths):
        ids = documents[piece.document][piece.doc_start : piece.doc_start + piece.length]
        expected.setdefault(piece.row, []).extend(ids.tolist())
    sizes = np.array(lengths, dtype=np.int64)
    ids = np.concatenate([np.empty(0, dtype=np.int64), *documents])
    blocks = list(fill_rows(ids, sizes, pack(sizes, ROW), ROW, pad_id=7))
    rows = [row.tolist() for block in blocks for row in block]
    assert rows == [expected[row] + [7] * (ROW - len(expected[row])) for row in sorted(expected)]


def test_rows_are_filled_a_block_at_a_time() -> None:
    count = 1000
    ids, lengths = np.arange(2 * count, dtype=np.uint16), np.full(count, 2)
    each = np.arange(count)
    placement = Placement(each, each * 0, lengths, each[::-1], each * 0)
    blocks = list(fill_rows(ids, lengths, placement, 3, pad_id=9))
    assert max(map(len, blocks)) < count
    assert np.concatenate(blocks)[:, :2].tolist() == ids.reshape(-1, 2)[::-1].tolist()
