"""Which steps are skipped, against the rule written out over the whole history."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.training.spikes import SpikeGuard, SpikePolicy

NORMS = st.one_of(st.floats(0.01, 2.0), st.floats(2.0, 1e6), st.sampled_from([math.nan, math.inf]))
POLICY = SpikePolicy(factor=3.0, window=6, max_skipped=4)


def run(guard: SpikeGuard, norms: list[float], first: int = 1) -> list[bool]:
    """Which of the norms are skipped, until the guard gives up."""
    skipped = []
    for step, norm in enumerate(norms, start=first):
        skipped.append(guard.fault(1.0, norm) is not None)
        if not skipped[-1]:
            guard.take(norm)
        elif not guard.skip(step):
            break
    return skipped


def by_definition(norms: list[float]) -> list[bool]:
    skipped: list[bool] = []
    for norm in norms:
        accepted = [earlier for earlier, skip in zip(norms, skipped, strict=False) if not skip][-6:]
        spike = len(accepted) >= 3 and norm > 3.0 * np.median(accepted)
        skipped.append(bool(spike or not np.isfinite(norm)))
        if sum(skipped[-6:]) > 4:
            break
    return skipped


@settings(max_examples=30, deadline=None)
@given(st.lists(NORMS, max_size=40))
def test_steps_are_skipped_by_the_median_of_the_taken_ones(norms: list[float]) -> None:
    assert run(SpikeGuard(POLICY), norms) == by_definition(norms)


@settings(max_examples=30, deadline=None)
@given(st.lists(NORMS, max_size=40), st.integers(0, 40))
def test_a_guard_made_from_what_another_remembers_goes_on_as_it_would(norms: list[float], cut: int) -> None:
    whole = run(SpikeGuard(POLICY), norms)
    guard = SpikeGuard(POLICY)
    before = run(guard, norms[:cut])
    if len(before) < len(norms[:cut]):
        return
    after = run(SpikeGuard(POLICY, list(guard.norms), list(guard.skipped)), norms[cut:], first=cut + 1)
    assert before + after == whole or len(whole) == cut


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (math.nan, 1.0, "the loss is nan"),
        (1.0, math.inf, "the gradient norm is inf"),
        (1.0, 30.5, "the gradient norm is 30.5, more than 10 times its median 3"),
    ],
)
def test_a_fault_is_said_with_its_numbers(loss: float, norm: float, said: str) -> None:
    assert SpikeGuard(SpikePolicy(), [3.0] * 64).fault(loss, norm) == said


@pytest.mark.parametrize(
    ("loss_by_corpus", "said"),
    [
        ({"web": 2.0, "code": math.nan, "math": 3.0}, "the loss is nan (by corpus: code nan; finite in web, math)"),
        ({"web": math.inf, "code": math.nan}, "the loss is nan (by corpus: web inf, code nan; finite in none)"),
        ({}, "the loss is nan"),
    ],
)
def test_a_loss_that_is_no_number_is_told_by_corpus(loss_by_corpus: dict[str, float], said: str) -> None:
    assert SpikeGuard(SpikePolicy()).fault(math.nan, 1.0, loss_by_corpus) == said


def test_nothing_is_far_out_before_half_of_the_window_is_known() -> None:
    assert SpikeGuard(SpikePolicy(), [1.0] * 63).fault(1.0, 1e9) is None
    assert SpikeGuard(SpikePolicy(), [1.0] * 64).fault(1.0, 1e9) is not None
