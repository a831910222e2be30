"""Candidate mixtures: weights of one phase, drawn around the recipe's own weights."""

from collections.abc import Mapping

import numpy as np

STRENGTHS = (0.1, 5.0)
"""Range of the Dirichlet's concentration per corpus, drawn uniformly for each mixture: from nearly one corpus alone to
nearly the recipe's own weights (Liu et al. 2024, RegMix, arXiv 2407.01492, section 3.1)."""
DECIMALS = 4
"""Of a weight, as a recipe shows it."""


def draw_mixtures(weights: Mapping[str, float], count: int, seed: int) -> list[dict[str, float]]:
    """`count` different mixtures of the corpora that have weight, the recipe's own first."""
    names, mean = corpora_of(weights)
    draw = np.random.default_rng(seed)
    mixtures = [rounded(names, mean)]
    while len(mixtures) < count:
        mixture = rounded(names, dirichlet(mean, 1, draw)[0])
        if mixture not in mixtures:
            mixtures.append(mixture)
    return mixtures


def corpora_of(weights: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    """Names of the corpora that have weight, in order, and float64 weights that sum to 1."""
    names = sorted(name for name, weight in weights.items() if weight > 0)
    mean = np.array([weights[name] for name in names])
    return names, mean / mean.sum()


def dirichlet(mean: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """float64 [count, corpora]: mixtures of strengths in STRENGTHS whose mean is `mean`."""
    strengths = draw.uniform(*STRENGTHS, size=(count, 1)) * len(mean)
    parts = draw.standard_gamma(strengths * mean)
    weights: np.ndarray = parts / parts.sum(axis=1, keepdims=True)
    return weights


def rounded(names: list[str], weights: np.ndarray) -> dict[str, float]:
    """Weights rounded to DECIMALS decimals that still sum to 1 exactly: the largest weight absorbs the rounding
    error."""
    units = np.rint(weights * 10**DECIMALS).astype(int)
    units[np.argmax(units)] += 10**DECIMALS - units.sum()
    return {name: int(unit) / 10**DECIMALS for name, unit in zip(names, units, strict=True)}
