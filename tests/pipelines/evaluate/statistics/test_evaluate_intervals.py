"""Intervals against simulation and known values."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.statistics.intervals import MIN_UNITS, degrees_of_freedom, proportion, ratio, score
from pipelines.evaluate.task import Share


def test_wilson_interval_has_known_values() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 0/20
    score = proportion(81 / 263, 263)
    assert (score.value, score.n) == (81 / 263, 263)
    assert (round(score.low, 4), round(score.high, 4)) == (0.2553, 0.3662)
    none = proportion(0.0, 20)
    assert (none.value, none.low, round(none.high, 4)) == (0.0, 0.0, 0.1611)


@pytest.mark.parametrize("spread_of_sizes", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("n", [*range(2, 21), 25, 30, 40, 50])
def test_ratio_interval_covers_the_truth_as_often_as_it_says_or_is_none(n: int, spread_of_sizes: float) -> None:
    """Documents of log-normal sizes, some of which hold most of the text, each with its own bits per byte."""
    rng = np.random.default_rng([n, int(10 * spread_of_sizes)])
    hits = 0
    for _ in range(1000):
        sizes = np.exp(7 + spread_of_sizes * rng.standard_normal(n))
        bits = sizes * 1.5 * np.exp(0.3 * rng.standard_normal(n) - 0.045)
        result = ratio(bits.tolist(), sizes.tolist())
        if n < MIN_UNITS:
            assert (result.low, result.high) == (None, None)
        else:
            assert result.low is not None and result.high is not None
            hits += result.low <= 1.5 <= result.high
    # Three standard deviations of 1,000 draws below 0.945; skewed sizes make it careful, not careless.
    assert n < MIN_UNITS or hits / 1000 >= 0.92


def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey() -> None:
    """By their matrices: residuals of a weighted mean, variances that grow with the square of the size."""
    rng = np.random.default_rng(3)
    for n in (2, 5, 9, 40):
        sizes = np.exp(rng.standard_normal(n))
        size_shares = sizes / sizes.sum()
        residuals = (np.eye(n) - np.outer(size_shares, np.ones(n))) / np.sqrt(1 - size_shares)[:, None]
        form = residuals @ np.diag(sizes**2) @ residuals.T
        expected = np.trace(form) ** 2 / (form**2).sum()
        assert degrees_of_freedom([Share(1.0, size) for size in sizes]) == pytest.approx(expected)
    assert degrees_of_freedom([Share(1.0, 7.0)] * 12) == pytest.approx(11)


def test_equal_sizes_have_the_interval_of_students_t() -> None:
    values = [1.0, 1.5, 0.8, 2.0, 1.1, 1.7]
    result = ratio(values, [1.0] * 6)
    from scipy import stats

    low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))


def test_one_document_that_holds_all_the_text_is_worth_one() -> None:
    result = ratio([2e12, *[1.0] * 9], [1e12, *[1.0] * 9])
    assert result.low == 0.0
    assert result.high is not None and result.high > 100


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_below_five_units_there_is_no_interval_whatever_is_measured(n: int) -> None:
    rights = [Share(1.0, 1.0), *[Share(0.0, 1.0)] * (n - 1)]
    assert score(rights, [""] * n).low is None
    assert score([Share(2.0, 3.0)] * n, [""] * n).low is None
    clustered = score(rights * 50, [f"database {number % n}" for number in range(50 * n)])
    assert (clustered.n, clustered.low, clustered.high) == (50 * n, None, None)
    empty = [Share(0.0, 0.0)] * 20
    assert ratio([share.part for share in [*rights, *empty]], [share.whole for share in [*rights, *empty]]).low is None


def test_ratio_is_of_sums() -> None:
    assert ratio([1.0, 9.0], [1.0, 4.0]).value == 2.0
    assert ratio([2.0] * 5, [1.0] * 5).low == pytest.approx(2.0)


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


@pytest.mark.parametrize(
    ("num_clusters", "alpha", "beta"), [(40, 0.5, 4.5), (6, 2.0, 2.0), (10, 2.0, 2.0), (20, 1.0, 2.0)]
)
def test_intervals_of_clustered_answers_stay_within_0_and_1_and_cover_the_truth_as_often_as_they_say(
    num_clusters: int, alpha: float, beta: float
) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        chances = rng.beta(alpha, beta, num_clusters)
        answers = [Share(float(rng.random() < chance), 1.0) for chance in chances for _ in range(5)]
        result = score(answers, [f"subject {number // 5}" for number in range(5 * num_clusters)])
        assert 0.0 <= result.low <= result.value <= result.high <= 1.0
        hits += result.low <= alpha / (alpha + beta) <= result.high
    assert 0.92 < hits / 1000 < 0.99
