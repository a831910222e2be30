"""How sure a score is: 95 % intervals in closed form, so that no seed is involved."""

import math
from collections.abc import Sequence

from pipelines.artifacts.report import Score

Z95 = 1.959963984540054
"""Standard normal quantile of 0.975."""


def proportion(successes: int, n: int) -> Score:
    """Share of successes with Wilson's score interval (1927), which holds near 0 and 1 and for small n."""
    share = successes / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return Score(share, n, max(0.0, centre - half), min(1.0, centre + half))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Score:
    """Sum over sum, with the interval of the ratio estimator (Cochran 1977, 6.4) over items as drawn.

    One item alone tells nothing of the spread: its interval is the value itself, beside n = 1.
    """
    n = len(numerators)
    total = math.fsum(denominators)
    value = math.fsum(numerators) / total
    residuals = [top - value * bottom for top, bottom in zip(numerators, denominators, strict=True)]
    spread = math.sqrt(math.fsum(residual**2 for residual in residuals) * n / (n - 1)) if n > 1 else 0.0
    return Score(value, n, value - Z95 * spread / total, value + Z95 * spread / total)
