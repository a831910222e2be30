"""Intervals against simulation and known values."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.intervals import proportion, ratio, score
from pipelines.evaluate.tasks.task import Share


def test_wilson_interval_has_known_values() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 0/20
    score = proportion(81 / 263, 263)
    assert (score.value, score.n) == (81 / 263, 263)
    assert (round(score.low, 4), round(score.high, 4)) == (0.2553, 0.3662)
    none = proportion(0.0, 20)
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


def test_independent_right_answers_have_wilsons_interval_and_others_that_of_their_clusters() -> None:
    answers = [Share(float(number % 3 == 0), 1.0) for number in range(60)]
    alone = score(answers, [""] * 60, chance=0.25)
    assert alone == replace(proportion(20 / 60, 60), chance=0.25)
    assert alone.centred == pytest.approx((1 / 3 - 0.25) / 0.75)
    assert not alone.is_above_chance
    subjects = [f"subject {number // 10}" for number in range(60)]
    together = score(answers, subjects)
    assert (together.value, together.n) == (alone.value, 60)
    assert (together.low, together.high) == (alone.low, alone.high), "clusters that are alike are no more than answers"


def test_intervals_of_clustered_answers_stay_within_0_and_1_and_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        chances = rng.beta(0.5, 4.5, 40)
        answers = [Share(float(rng.random() < chance), 1.0) for chance in chances for _ in range(5)]
        found = score(answers, [f"subject {number // 5}" for number in range(200)])
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        hits += found.low <= 0.1 <= found.high
    assert 0.92 < hits / 1000 < 0.99
