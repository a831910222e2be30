"""Confidence of a score: 95 % intervals in closed form, so that no seed is involved; none if there are too few units.

Ratios of sums have the variance HC2 over clusters (MacKinnon and White 1985) with Student's t at the degrees of freedom
of Bell and McCaffrey (2002): few documents, or many of which a few hold most of the text, are worth few.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.artifacts.evaluation import Score
from pipelines.evaluate.task import Share

Z95 = 1.959963984540054
"""Standard normal quantile of 0.975."""
MIN_UNITS = 5
"""Documents, or independent answers, or clusters of such, below which a score has no interval."""


class VarianceEstimate(NamedTuple):
    """Variance of a ratio of sums, and the degrees of freedom that it is known with."""

    variance: float
    freedom: float

    @property
    def half_width(self) -> float:
        """Of the 95 % interval by Student's t."""
        from scipy.special import stdtrit  # imported here: only results need it, and plans are built without

        return float(stdtrit(self.freedom, 0.975)) * math.sqrt(self.variance)


def score(shares: Sequence[Share], clusters: Sequence[str], chance: float | None = None) -> Score:
    """The sum of parts over the sum of wholes. The interval is Wilson's for counts, right answers or followed
    instructions, else that of the ratio, both over `clusters` ("" is a separate cluster for each item)."""
    sums = by_cluster(shares, clusters)
    score = ratio([share.part for share in sums], [share.whole for share in sums])
    if score.low is not None and all(float(share.part).is_integer() and share.part <= share.whole for share in shares):
        independent = not any(clusters) and all(share.whole == 1 for share in shares)
        score = proportion(score.value, len(shares) if independent else _effective_size(score.value, sums))
    return Score(score.value, len(shares), score.low, score.high, chance)


def _effective_size(value: float, sums: Sequence[Share]) -> float:
    """Number of independent answers with the same variance, at most the number of answers (Korn and Graubard 1998;
    Franco et al. 2019, J. Surv. Stat. Methodol. 7, 334). Without any variance a cluster is worth no more than one
    answer."""
    deviation = variance_of(sums).half_width / Z95
    if not deviation:
        return len(sums)
    return min(math.fsum(share.whole for share in sums), value * (1 - value) / deviation**2)


def by_cluster(shares: Sequence[Share], clusters: Sequence[str]) -> list[Share]:
    """The sums of each cluster, in order; an item of the cluster "" is a separate cluster."""
    sums: dict[str, Share] = {}
    for number, (share, cluster) in enumerate(zip(shares, clusters, strict=True)):
        name = f"cluster {cluster}" if cluster else f"item {number}"
        before = sums.get(name, Share(0.0, 0.0))
        sums[name] = Share(before.part + share.part, before.whole + share.whole)
    return list(sums.values())


def proportion(share: float, n: float) -> Score:
    """A share of `n` with Wilson's score interval (1927), which holds near 0 and 1 and for small n."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return Score(share, round(n), max(0.0, centre - half), min(1.0, centre + half))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Score:
    """Sum over sum of non-negative values, with the interval of the ratio over sampled items; without one below
    `MIN_UNITS`."""
    shares = [Share(top, bottom) for top, bottom in zip(numerators, denominators, strict=True)]
    value = math.fsum(numerators) / math.fsum(denominators)
    if num_units(shares) < MIN_UNITS:
        return Score(value, len(shares), None, None)
    half = variance_of(shares).half_width
    return Score(value, len(shares), max(0.0, value - half), value + half)


def num_units(shares: Sequence[Share]) -> int:
    """Units that contribute to a measure."""
    return sum(share.whole > 0 for share in shares)


def variance_of(shares: Sequence[Share]) -> VarianceEstimate:
    """How sure the ratio of sums is. At least two units must have a part in it."""
    return VarianceEstimate(math.fsum(part**2 for part in influences(shares)), degrees_of_freedom(shares))


def influences(shares: Sequence[Share]) -> list[float]:
    """How far each unit draws the ratio of sums from its value, to first order, made larger by how much it has drawn
    the value to itself: the sum of their squares is the variance HC2."""
    total = math.fsum(share.whole for share in shares)
    value = math.fsum(share.part for share in shares) / total
    return [(share.part - value * share.whole) / total / math.sqrt(_rest(share.whole / total)) for share in shares]


def degrees_of_freedom(shares: Sequence[Share]) -> float:
    """Of the variance, if units differ in their ratio regardless of their size: n - 1 if all are equally large, near 0
    if one of them is nearly all.

    Satterthwaite's 2 * mean^2 / variance of the quadratic form, tr(B)^2 / tr(B^2) with B = A (I - H) D (I - H)' A,
    of which everything but D is of low rank.
    """
    total = math.fsum(share.whole for share in shares)
    sizes = [share.whole / total for share in shares]
    squares = math.fsum(size**2 for size in sizes)
    weights = [1 / _rest(size) for size in sizes]
    second, third, fourth = (
        math.fsum(weight * size**power for weight, size in zip(weights, sizes, strict=True)) for power in (2, 3, 4)
    )
    diagonal = [size**2 * (squares - 2 * size) for size in sizes]
    trace = math.fsum(weight * (size**2 + own) for weight, size, own in zip(weights, sizes, diagonal, strict=True))
    own_squares = math.fsum(
        weight**2 * size**2 * (size**2 + 2 * own) for weight, size, own in zip(weights, sizes, diagonal, strict=True)
    )
    crossed = 2 * second * fourth + 2 * third**2 + squares**2 * second**2 - 4 * squares * second * third
    return trace**2 / (own_squares + crossed)


def _rest(size: float) -> float:
    """The share of all others, clipped since rounding may make it negative."""
    return max(1 - size, 1e-12)
