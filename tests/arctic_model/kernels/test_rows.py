"""Weighted sums of rows against their definition, row by row in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.kernels.operators import weighted_sum

NUM_ROWS, WIDTH = 7, 5


@given(
    index=st.lists(st.lists(st.integers(0, NUM_ROWS), min_size=3, max_size=3), max_size=9),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_a_weighted_sum_is_that_of_its_rows_and_a_gap_adds_nothing(
    index: list[list[int]], weighted: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(NUM_ROWS, WIDTH, generator=generator)
    weights = torch.rand(len(index), 3, generator=generator) if weighted else torch.ones(len(index), 3)
    expected = torch.zeros(len(index), WIDTH, dtype=torch.float64)
    for total, selected, shares in zip(expected, index, weights, strict=True):
        for row, share in zip(selected, shares, strict=True):
            if row < NUM_ROWS:
                total += share.double() * rows[row].double()
    numbers = torch.tensor(index, dtype=torch.int64).view(-1, 3)
    result = weighted_sum(rows, numbers, weights if weighted else None, [], True)
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-6)


def test_rows_in_bfloat16_are_added_in_float32_and_rounded_once() -> None:
    # Three times 2**-9 is more than half of bfloat16's step at 1, one alone is not.
    rows = torch.tensor([[1.0], [2.0**-9]], dtype=torch.bfloat16)
    index = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1]])
    for weights in (None, torch.ones(2, 4)):
        assert weighted_sum(rows, index, weights, [], False).tolist() == [[1 + 2.0**-7]] * 2


def test_the_gradient_of_a_sum_has_no_strides() -> None:
    rows = torch.ones(1).expand(4, WIDTH)
    assert torch.equal(weighted_sum(rows, torch.tensor([[0, 3]]), None, [], False), torch.full((1, WIDTH), 2.0))
