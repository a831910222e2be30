"""The learning rate: continuous, between its bounds, and with the right values at the ends."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arctic_model.training.optimization.schedule import Schedule

PEAK = 0.01


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    warmup, stay, fall = (draw(st.integers(0, 5000)) for _ in range(3))
    decay = draw(st.sampled_from(["linear", "cosine"]))
    return Schedule(PEAK, draw(st.floats(0.0, 1.0)), warmup, warmup + stay, warmup + stay + fall, decay)


@settings(max_examples=30, deadline=None)
@given(schedules())
def test_it_starts_at_nothing_and_ends_at_its_lowest(schedule: Schedule) -> None:
    assume(schedule.warmup_tokens > 0 and schedule.decay_end_tokens > schedule.decay_start_tokens)
    assert schedule.learning_rate(0) == 0.0
    assert schedule.learning_rate(schedule.warmup_tokens) == PEAK
    assert schedule.learning_rate(schedule.decay_start_tokens) == PEAK
    final = schedule.final_lr_fraction * PEAK
    assert schedule.learning_rate(schedule.decay_end_tokens) == pytest.approx(final, abs=1e-15)
    assert schedule.learning_rate(2 * schedule.decay_end_tokens) == pytest.approx(final, abs=1e-15)


@settings(max_examples=30, deadline=None)
@given(schedules(), st.integers(0, 16_000))
def test_it_never_jumps(schedule: Schedule, tokens: int) -> None:
    """No step of one token is longer than the steepest slope: pi / 2 for the cosine."""
    fall = schedule.decay_end_tokens - schedule.decay_start_tokens
    shortest = max(1, min(schedule.warmup_tokens or fall, fall))
    change = schedule.learning_rate(tokens + 1) - schedule.learning_rate(tokens)
    assert abs(change) <= PEAK * math.pi / 2 / shortest + 1e-15


@settings(max_examples=30, deadline=None)
@given(schedules(), st.integers(0, 16_000))
def test_it_rises_in_warm_up_and_never_after(schedule: Schedule, tokens: int) -> None:
    now, then = schedule.learning_rate(tokens), schedule.learning_rate(tokens + 7)
    if tokens + 7 <= schedule.warmup_tokens:
        assert now < then
    elif tokens >= schedule.warmup_tokens:
        assert now >= then


def test_a_cosine_is_half_way_down_half_way_through_and_flat_at_both_ends() -> None:
    schedule = Schedule(1.0, 0.2, 100, 100, 1100, "cosine")
    assert schedule.learning_rate(600) == pytest.approx(0.6)
    assert schedule.learning_rate(350) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert 1.0 - schedule.learning_rate(110) < 0.001
    assert schedule.learning_rate(1090) - 0.2 < 0.001


def test_without_decay_it_stays() -> None:
    assert {Schedule(PEAK, warmup_tokens=10).learning_rate(tokens) for tokens in (10, 11, 10**12)} == {PEAK}
