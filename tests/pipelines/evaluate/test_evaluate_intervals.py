"""Intervals against simulation and known values."""

import numpy as np
import pytest

from pipelines.evaluate.intervals import proportion, ratio


def test_wilson_interval_has_known_values() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 0/20
    score = proportion(81, 263)
    assert (score.value, score.n) == (81 / 263, 263)
    assert (round(score.low, 4), round(score.high, 4)) == (0.2553, 0.3662)
    none = proportion(0, 20)
    assert (none.value, none.low, round(none.high, 4)) == (0.0, 0.0, 0.1611)


def test_ratio_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        size = rng.gamma(2.0, 500.0, 80) + 50
        bits = size * (1.5 + 0.3 * rng.standard_normal(80))
        score = ratio(bits.tolist(), size.tolist())
        hits += score.low <= 1.5 <= score.high
    assert 0.91 < hits / 1000 < 0.97


def test_ratio_is_of_sums_and_one_item_has_no_spread() -> None:
    assert ratio([1.0, 9.0], [1.0, 4.0]).value == 2.0
    alone = ratio([3.0], [2.0])
    assert (alone.value, alone.n, alone.low, alone.high) == (1.5, 1, 1.5, 1.5)
    assert ratio([2.0, 4.0], [1.0, 2.0]).low == pytest.approx(2.0)
