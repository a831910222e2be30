"""The keyed permutation is a bijection without a trend, a new one for each key, and the same in a batch and alone."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifacts.sequence_order.permutation import permute


def one_by_one(index: int, size: int, key: str) -> int:
    """The cipher in Python's own integers."""
    block = hashlib.sha256(key.encode()).digest()
    half = max(1, -(-(size - 1).bit_length() // 2))
    mask, value = (1 << half) - 1, index
    while size > 1:
        left, right = value >> half, value & mask
        for number in range(4):
            mixed = right ^ int.from_bytes(block[8 * number : 8 * number + 8])
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                mixed = (mixed ^ mixed >> shift) * factor % 2**64
            left, right = right, left ^ ((mixed ^ mixed >> 31) & mask)
        value = left << half | right
        if value < size:
            return value
    return 0


@settings(max_examples=40)
@given(st.integers(1, 700), st.text("ab/0123", max_size=5))
def test_permutation_is_a_bijection(size: int, key: str) -> None:
    assert sorted(permute(np.arange(size), size, key).tolist()) == list(range(size))


@settings(max_examples=30)
@given(st.integers(1, 2**40), st.data())
def test_a_batch_gives_what_each_index_gives_alone(size: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    images = permute(np.array(indices, dtype=np.int64), size, "7/web/0")
    assert images.tolist() == [one_by_one(index, size, "7/web/0") for index in indices]


def test_orders_differ_between_epochs_corpora_and_seeds() -> None:
    orders = {tuple(permute(np.arange(100), 100, key).tolist()) for key in ("0/a/0", "0/a/1", "0/b/0", "1/a/0")}
    assert len(orders) == 4
    assert tuple(range(100)) not in orders


def test_permutation_has_no_trend() -> None:
    images = permute(np.arange(5000), 5000, "3/web/0")
    # 4 standard errors of a random permutation's rank correlation
    assert abs(np.corrcoef(np.arange(5000), images)[0, 1]) < 4 / np.sqrt(5000)
