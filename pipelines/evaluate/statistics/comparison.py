"""Two checkpoints on the same items: is the difference more than noise?

Pairing the items removes the variance that is common to both, such as how hard each item is: intervals of the two
scores may overlap while the difference is certain.
"""

import math
from collections.abc import Sequence
from math import comb

from pipelines.artifacts.evaluation import Difference
from pipelines.evaluate.statistics.intervals import (
    MIN_UNITS,
    VarianceEstimate,
    by_cluster,
    degrees_of_freedom,
    influences,
    num_units,
)
from pipelines.evaluate.task import Share


def difference(before: Sequence[Share], after: Sequence[Share], clusters: Sequence[str]) -> Difference:
    """Compare two runs over the same items in the same order. Items of one cluster count as one unit ("" is a separate
    cluster for each item).

    Interval and p-value are those of a paired t test on the units, with variance and degrees of freedom as in
    `pipelines.evaluate.statistics.intervals`. The p-value is never smaller than the sign test's for the same number of
    units that all agree, for two documents prove nothing; below `MIN_UNITS` there is no interval.
    """
    old, new = by_cluster(before, clusters), by_cluster(after, clusters)
    value = _ratio(new) - _ratio(old)
    units = min(num_units(old), num_units(new))
    least = min(1.0, 2.0 ** (1 - units))
    if units < MIN_UNITS:
        return Difference(value, None, None, 1.0 if not value else least, mcnemar(before, after), len(before))
    pairs = zip(influences(old), influences(new), strict=True)
    freedom = min(degrees_of_freedom(old), degrees_of_freedom(new))
    estimate = VarianceEstimate(math.fsum((late - early) ** 2 for early, late in pairs), freedom)
    half = estimate.half_width
    p_value = max(least, _two_sided(value, estimate))
    return Difference(value, value - half, value + half, p_value, mcnemar(before, after), len(before))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being the smallest of many (Holm 1979, Scand. J. Stat. 6, 65): the level at which the
    step-down procedure would reject each."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _two_sided(value: float, estimate: VarianceEstimate) -> float:
    """p-value of Student's t; without any spread a difference is certain."""
    if not estimate.variance:
        return 0.0 if value else 1.0
    from scipy.special import stdtr  # imported here: only results need it, and plans are built without

    return float(2 * stdtr(estimate.freedom, -abs(value) / math.sqrt(estimate.variance)))


def _ratio(sums: Sequence[Share]) -> float:
    return math.fsum(share.part for share in sums) / math.fsum(share.whole for share in sums)


def mcnemar(before: Sequence[Share], after: Sequence[Share]) -> float | None:
    """Two-sided exact p-value of McNemar's test (1947): of the items that changed, did more get better than worse?

    None if an item is not right or wrong as a whole.
    """
    if not all(share in ((0, 1), (1, 1)) for share in (*before, *after)):
        return None
    better = sum(new.part > old.part for old, new in zip(before, after, strict=True))
    worse = sum(new.part < old.part for old, new in zip(before, after, strict=True))
    changed = better + worse
    tail = sum(comb(changed, k) for k in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / 2**changed))
