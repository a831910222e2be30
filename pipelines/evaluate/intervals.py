"""How sure a score is: 95 % intervals in closed form, so that no seed is involved."""

import math
from collections.abc import Sequence

from pipelines.artifacts.report import Score
from pipelines.evaluate.tasks.task import Share

Z95 = 1.959963984540054
"""Standard normal quantile of 0.975."""


def score(shares: Sequence[Share], clusters: Sequence[str], chance: float | None = None) -> Score:
    """The sum of parts over the sum of wholes. The interval is Wilson's for what is counted, right answers or followed
    instructions, else that of the ratio estimator, both over `clusters` ("" is a cluster of its own)."""
    sums = by_cluster(shares, clusters)
    found = ratio([share.part for share in sums], [share.whole for share in sums])
    if all(float(share.part).is_integer() and share.part <= share.whole for share in shares):
        independent = not any(clusters) and all(share.whole == 1 for share in shares)
        found = proportion(found.value, len(shares) if independent else _effective_size(found, sums))
    return Score(found.value, len(shares), found.low, found.high, chance)


def _effective_size(found: Score, sums: Sequence[Share]) -> float:
    """How many independent answers would have the spread of these, at most as many as there are (Franco et al. 2019,
    J. Surv. Stat. Methodol. 7, 334). Without any spread a cluster says no more than one answer does."""
    spread = (found.high - found.value) / Z95
    if not spread:
        return len(sums)
    return min(math.fsum(share.whole for share in sums), found.value * (1 - found.value) / spread**2)


def by_cluster(shares: Sequence[Share], clusters: Sequence[str]) -> list[Share]:
    """The sums of each cluster, in order; an item of the cluster "" is one of its own."""
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
    """Sum over sum, with the interval of the ratio estimator (Cochran 1977, 6.4) over items as drawn.

    One item alone tells nothing of the spread: its interval is the value itself, beside n = 1.
    """
    shares = [Share(top, bottom) for top, bottom in zip(numerators, denominators, strict=True)]
    n = len(shares)
    value = math.fsum(numerators) / math.fsum(denominators)
    spread = math.sqrt(math.fsum(part**2 for part in influences(shares)) * n / (n - 1)) if n > 1 else 0.0
    return Score(value, n, value - Z95 * spread, value + Z95 * spread)


def influences(shares: Sequence[Share]) -> list[float]:
    """How far each item draws the ratio of sums from its value, to first order; they sum to 0."""
    total = math.fsum(share.whole for share in shares)
    value = math.fsum(share.part for share in shares) / total
    return [(share.part - value * share.whole) / total for share in shares]
