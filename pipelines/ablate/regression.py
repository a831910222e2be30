"""From the mixtures that were tried to the score of any mixture (Liu et al. 2024, RegMix, arXiv 2407.01492)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.ablate.mixtures import corpora_of, dirichlet, rounded

MIN_MIXTURES = 4
"""Fewer leave a held-out fit of the rest without a slope."""
SEARCHED = 20_000
"""Mixtures whose score is predicted in search of the best."""
AVERAGED = 100
"""The best predicted ones, whose mean is taken: one alone would follow the regression's noise (RegMix, section 3.3)."""

CONSTANT = 1e-9
"""Relative spread below which predictions differ only by rounding."""

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Predict]


@dataclass(frozen=True)
class Regression:
    """One method on mixtures [n, corpora] and scores [n, measures]. `heldout`: [n, measures], each mixture predicted
    from all others; `rank_correlation`: Spearman's between held-out and measured objective, 0 if a method predicts
    the same for all."""

    method: str
    predict: Predict
    heldout: np.ndarray
    rank_correlation: float


def regress(mixtures: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> list[Regression]:
    """Both methods, the better on held-out mixtures first. The objective is `scores` @ `weights`, lower is better.

    Raises ValueError if there are too few mixtures.
    """
    if len(mixtures) < MIN_MIXTURES:
        raise ValueError(f"{len(mixtures)} mixtures are too few to predict others; try at least {MIN_MIXTURES}")
    fitted = []
    for method, fit in METHODS.items():
        others = [np.arange(len(mixtures)) != left_out for left_out in range(len(mixtures))]
        heldout = np.concatenate(
            [fit(mixtures[rest], scores[rest])(mixtures[~rest]) for rest in others],
        )
        correlation = _rank_correlation(heldout @ weights, scores @ weights)
        fitted.append(Regression(method, fit(mixtures, scores), heldout, correlation))
    return sorted(fitted, key=lambda regression: -regression.rank_correlation)


def best_mixture(
    around: Mapping[str, float], regression: Regression, weights: np.ndarray, seed: int
) -> dict[str, float] | None:
    """Mean of the mixtures with the lowest predicted objective among many drawn as the tried ones were; None if the
    regression predicts the same for all of them, and so knows no best."""
    names, mean = corpora_of(around)
    drawn = dirichlet(mean, SEARCHED, np.random.default_rng(seed))
    predicted = regression.predict(drawn) @ weights
    if np.ptp(predicted) <= CONSTANT * np.abs(predicted).max():
        return None
    order = np.argsort(predicted, kind="stable")[:AVERAGED]
    return rounded(names, drawn[order].mean(axis=0))


def _rank_correlation(predicted: np.ndarray, measured: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, measured).statistic) if np.ptp(predicted) and np.ptp(measured) else 0.0


def _linear(mixtures: np.ndarray, scores: np.ndarray) -> Predict:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(mixtures, scores)
    return lambda table: np.asarray(model.predict(table))


def _boosted(mixtures: np.ndarray, scores: np.ndarray) -> Predict:
    from sklearn.ensemble import GradientBoostingRegressor

    models = [GradientBoostingRegressor(max_depth=2, random_state=0).fit(mixtures, column) for column in scores.T]
    return lambda table: np.stack([model.predict(table) for model in models], axis=1)


METHODS: Mapping[str, Fit] = {"linear": _linear, "gradient boosting": _boosted}
