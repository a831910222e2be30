"""Throughput over a phase: tokens between steps over the seconds that the steps took."""

import pytest

from pipelines.train.rates import MAX_POINTS, throughput


def records(num_steps: int, first_tokens: int = 0) -> list[dict[str, float]]:
    """Steps of 100 tokens that take a second each, but every tenth takes eleven."""
    return [{"tokens": first_tokens + 100 * (n + 1), "step_s": 11.0 if n % 10 == 9 else 1.0} for n in range(num_steps)]


def test_few_steps_are_shown_one_by_one_but_the_first() -> None:
    points = throughput(records(12, 5000))
    assert points[0] == (5200, 100.0)
    assert points[8] == (6000, pytest.approx(100 / 11))
    assert len(points) == 11


def test_many_steps_are_grouped_and_their_mean_is_kept() -> None:
    points = throughput(records(100_001))
    assert len(points) <= MAX_POINTS
    assert points[-1][0] == 100 * 100_001
    assert [rate for _, rate in points[:-1]] == pytest.approx([50.0] * (len(points) - 1), rel=0.01)


@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_phase_without_a_second_step_has_no_throughput(num_steps: int) -> None:
    assert throughput(records(num_steps)) == []
