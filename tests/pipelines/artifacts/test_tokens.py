"""Packed sequences are read back unchanged, and the targets of the model are right."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.tokenization.tokens import (
    PIECES,
    Piece,
    TokenSequences,
    TokensIndex,
    id_dtype,
    positions_and_targets,
    write_token_shard,
)


def oracle(ids: list[int], segments: list[int]) -> tuple[list[int], list[int]]:
    """Position and target one by one: count on inside a piece, predict only inside a piece."""
    positions, targets = [], []
    for index in range(len(ids) - 1):
        new = index == 0 or segments[index] != segments[index - 1]
        positions.append(0 if new else positions[-1] + 1)
        inside = segments[index] >= 0 and segments[index] == segments[index + 1]
        targets.append(ids[index + 1] if inside else -1)
    return positions, targets


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 9))
def test_positions_and_targets_equal_the_oracle(lengths: list[int], padding: int) -> None:
    segments = [piece for piece, length in enumerate(lengths) for _ in range(length)] + [-1] * padding
    if len(segments) < 2:
        return
    ids = list(range(500, 500 + len(segments)))
    positions, targets = positions_and_targets(np.array(ids, np.uint16), np.array(segments, np.int32))
    assert (positions.tolist(), targets.tolist()) == oracle(ids, segments)


def write_two_shards(folder: Path) -> None:
    pieces = pa.Table.from_pylist(
        [
            {"sequence": 0, "start": 0, "length": 5, "doc_id": "long", "doc_start": 0, "doc_row": 7},
            {"sequence": 1, "start": 0, "length": 2, "doc_id": "long", "doc_start": 4, "doc_row": 7},
            {"sequence": 1, "start": 2, "length": 2, "doc_id": "short", "doc_start": 0, "doc_row": 2},
        ],
        schema=PIECES,
    )
    write_token_shard(np.arange(10, dtype=np.uint16).reshape(2, 5), pieces, folder, "train", 0)
    write_token_shard(np.empty((0, 5), np.uint16), PIECES.empty_table(), folder, "train", 1)
    write_token_shard(np.arange(20, 25, dtype=np.uint16).reshape(1, 5), pieces.slice(0, 1), folder, "train", 2)
    TokensIndex(4, "uint16", 300, 0, 1, {"train": [2, 0, 1], "heldout": []}, {}, {}).write(folder)


def test_sequences_are_numbered_over_shards_and_empty_shards_are_passed_over(tmp_path: Path) -> None:
    write_two_shards(tmp_path)
    sequences = TokenSequences(tmp_path, "train")
    assert len(sequences) == 3
    assert [sequences.ids(number).tolist() for number in range(3)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [*range(20, 25)],
    ]
    assert sequences.pieces(1) == [Piece(0, 2, "long", 4, 7), Piece(2, 2, "short", 0, 2)]
    assert sequences.segments(1).tolist() == [0, 0, 1, 1, -1]
    assert sequences.segments(2).tolist() == [0] * 5
    assert len(TokenSequences(tmp_path, "heldout")) == 0


@pytest.mark.parametrize("number", [-1, 3])
def test_sequence_that_does_not_exist_is_an_error(tmp_path: Path, number: int) -> None:
    write_two_shards(tmp_path)
    with pytest.raises(IndexError, match=f"sequence {number} of 3"):
        TokenSequences(tmp_path, "train").ids(number)


def test_ids_have_the_narrowest_type_that_holds_them() -> None:
    assert [id_dtype(size) for size in (260, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
