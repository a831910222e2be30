"""Differences between two checkpoints against scipy's tests and simulation."""

import numpy as np
import pytest

from pipelines.evaluate.statistics.comparison import difference, mcnemar
from pipelines.evaluate.statistics.intervals import MIN_UNITS
from pipelines.evaluate.task import Share


def answers(rights: np.ndarray) -> list[Share]:
    return [Share(float(right), 1.0) for right in rights]


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_binomial_test_of_the_items_that_changed(seed: int) -> None:
    draw = np.random.default_rng(seed)
    before, after = draw.random(80) < 0.4, draw.random(80) < 0.5
    better, worse = int((after & ~before).sum()), int((before & ~after).sum())
    from scipy.stats import binomtest

    expected = binomtest(better, better + worse).pvalue
    assert mcnemar(answers(before), answers(after)) == pytest.approx(expected)


def test_no_change_is_noise_and_bits_know_no_mcnemar() -> None:
    same = answers(np.arange(20) % 2 == 0)
    result = difference(same, same, [""] * 20)
    assert (result.value, result.p_value, result.mcnemar, result.is_noise) == (0.0, 1.0, 1.0, True)
    bits = [Share(3.0, 2.0), Share(5.0, 4.0)]
    assert mcnemar(bits, bits) is None


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        hard = draw.random(60)
        before, after = draw.random(60) < 0.3 + 0.4 * hard, draw.random(60) < 0.4 + 0.4 * hard
        result = difference(answers(before), answers(after), [""] * 60)
        hits += result.low <= 0.1 <= result.high
    assert 0.93 <= hits / 1000 <= 0.98


@pytest.mark.parametrize("spread_of_sizes", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("n", [2, 4, 5, 6, 7, 10, 15, 20, 35, 50])
def test_equal_checkpoints_differ_by_more_than_noise_in_one_of_twenty_pairs(n: int, spread_of_sizes: float) -> None:
    draw = np.random.default_rng([n, int(10 * spread_of_sizes)])
    alarms, hits = 0, 0
    for _ in range(1000):
        sizes = np.exp(7 + spread_of_sizes * draw.standard_normal(n))
        rates = 1.5 + 0.4 * draw.standard_normal(n)
        before, after = (
            [Share(size * rate, size) for size, rate in zip(sizes, rates + 0.05 * draw.standard_normal(n), strict=True)]
            for _ in range(2)
        )
        result = difference(before, after, [""] * n)
        alarms += not result.is_noise
        hits += result.low is not None and result.high is not None and result.low <= 0 <= result.high
    assert alarms <= 70
    assert hits >= 930 if n >= MIN_UNITS else hits == 0


def test_an_equal_size_difference_is_students_paired_test() -> None:
    draw = np.random.default_rng(5)
    before, after = draw.normal(2.0, 0.5, 12), draw.normal(1.8, 0.5, 12)
    result = difference([Share(value, 1.0) for value in before], [Share(value, 1.0) for value in after], [""] * 12)
    from scipy.stats import ttest_rel

    expected = ttest_rel(after, before)
    assert result.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (result.low, result.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_pairing_finds_what_two_intervals_would_not() -> None:
    # every document gets a little better, while documents differ much from each other
    draw = np.random.default_rng(2)
    sizes = draw.integers(100, 1000, 50).astype(float)
    bits = sizes * draw.uniform(1.0, 4.0, 50)
    before = [Share(b, s) for b, s in zip(bits, sizes, strict=True)]
    after = [Share(b * 0.99, s) for b, s in zip(bits, sizes, strict=True)]
    result = difference(before, after, [""] * 50)
    assert result.high < 0
    assert not result.is_noise


def test_items_of_one_cluster_count_as_one_draw() -> None:
    draw = np.random.default_rng(3)
    groups = np.repeat(np.arange(10), 20)
    before = answers(np.repeat(draw.random(10) < 0.5, 20))
    after = answers(np.repeat(draw.random(10) < 0.7, 20))
    alone = difference(before, after, [""] * 200)
    together = difference(before, after, [f"g{group}" for group in groups])
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_two_documents_prove_nothing_and_seven_that_agree_do() -> None:
    for count, is_noise in ((2, True), (7, False)):
        before = [Share(2.0, 1.0)] * count
        after = [Share(1.0, 1.0)] * count
        result = difference(before, after, [""] * count)
        assert result.value == -1.0
        assert result.is_noise == is_noise
