"""Packing loses nothing, cuts only what is too long, and fills rows well."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokenize.packing import Placed, fill_rows, pack

ROW = 17
lengths_strategy = st.lists(st.integers(2, 60), max_size=40)


@given(lengths_strategy)
def test_every_id_but_the_leading_end_is_predicted_exactly_once(lengths: list[int]) -> None:
    predicted = Counter(
        (piece.document, piece.doc_start + offset) for piece in pack(lengths, ROW) for offset in range(1, piece.length)
    )
    expected = {(document, index) for document, length in enumerate(lengths) for index in range(1, length)}
    assert set(predicted) == expected
    assert max(predicted.values(), default=1) == 1


@given(lengths_strategy)
def test_pieces_never_overlap_and_rows_have_no_hole(lengths: list[int]) -> None:
    placed = pack(lengths, ROW)
    assert placed == sorted(placed)
    end: dict[int, int] = {}
    for piece in placed:
        assert piece.start == end.get(piece.row, 0)
        end[piece.row] = piece.start + piece.length
    assert all(stop <= ROW for stop in end.values())
    assert sorted(end) == list(range(len(end)))


@given(lengths_strategy)
def test_documents_that_fit_are_whole_and_long_ones_are_cut_into_the_fewest_pieces(lengths: list[int]) -> None:
    pieces = Counter(piece.document for piece in pack(lengths, ROW))
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
    placed = pack(lengths, 24)
    used: Counter[int] = Counter()
    for piece in placed:
        used[piece.row] += piece.length
    assert sorted(24 - free for free in rows) == sorted(used.values())


def test_rows_of_web_like_lengths_are_full() -> None:
    # log-normal lengths with a median of 600 ids, as of English web pages, in shards of 5,000 documents
    lengths = np.random.default_rng(0).lognormal(np.log(600), 1.1, 5000).astype(int) + 2
    placed = pack(lengths.tolist(), 4097)
    assert sum(piece.length for piece in placed) / ((placed[-1].row + 1) * 4097) > 0.995


def test_fill_rows_puts_ids_where_the_pieces_say() -> None:
    documents = [np.arange(100, 106), np.arange(200, 203)]
    placed = [Placed(0, 0, 4, 0, 0), Placed(1, 0, 3, 0, 3), Placed(1, 3, 1, 1, 2)]
    rows = fill_rows(documents, placed, 5, pad_id=1)
    assert rows.tolist() == [[100, 101, 102, 103, 1], [103, 104, 105, 202, 1]]
    assert fill_rows([], [], 5, 1).shape == (0, 5)
