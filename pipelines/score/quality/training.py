"""Train a quality model: distinguish good texts from bad ones by their words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.score.quality.linear import QualityModel, features
from pipelines.score.text.characters import Characters

NUM_FEATURES = 2**18
EPOCHS = 10
LEARNING_RATE = 1.0
MIN_ACCURACY = 0.6
"""Share of the held-out texts, both kinds weighing the same, below which a model is hardly better than chance."""
MIN_TEXTS, MIN_HELDOUT = 10, 5
"""Texts of each kind that are needed, and those of each that are held out at least."""
LUCK = 1.645
"""Standard deviations by which chance exceeds its mean once in twenty times."""
WEIGHT_SCALE = 1e-8
"""Keeps the first step of Adagrad finite."""
_Text = tuple[tuple[np.ndarray, np.ndarray], int]
"""Features, the share of each, and the label: 1 for good."""


@dataclass(frozen=True)
class TrainingReport:
    """The training data of the model, and its accuracy on held-out texts, both kinds weighing the same."""

    num_good: int
    num_bad: int
    num_heldout: int
    heldout_accuracy: float


def train_quality_model(
    good: Iterable[str], bad: Iterable[str], out: Path, *, heldout_fraction: float = 0.1, seed: int = 0
) -> TrainingReport:
    """Write to `out` a model that gives texts like `good` a probability near 1; both kinds weigh the same.

    Logistic regression on shares of word uni- and bigrams, by Adagrad (Duchi, Hazan and Singer 2011). The same share of
    each kind is held out. The same texts in the same order and the same seed give the same file. Raises ValueError, and
    writes nothing, if either side has fewer than 10 texts or the model cannot distinguish them.
    """
    texts = [(_shares(text), label) for label, side in ((1, good), (0, bad)) for text in side]
    labels = np.array([label for _, label in texts], int)
    num_bad, num_good = np.bincount(labels, minlength=2).tolist()
    if min(num_good, num_bad) < MIN_TEXTS:
        raise ValueError(f"{num_good} good and {num_bad} bad texts: {MIN_TEXTS} of each are the least. Bring more.")
    random = np.random.default_rng(seed)
    is_heldout = _draw_heldout(labels, heldout_fraction, random)
    weight, bias = _fit([texts[number] for number in np.flatnonzero(~is_heldout)], random)
    unseen = [texts[number] for number in np.flatnonzero(is_heldout)]
    right = np.array([(_sigmoid(weight[used] @ shares + bias) >= 0.5) == label for (used, shares), label in unseen])
    accuracy = float(np.mean([right[labels[is_heldout] == label].mean() for label in (0, 1)]))
    by_luck = 0.5 + LUCK * 0.25 * np.sqrt(np.sum(1 / np.bincount(labels[is_heldout])))
    if accuracy < max(MIN_ACCURACY, by_luck):
        raise ValueError(
            f"a model separates them hardly better than chance: right on {accuracy:.1%} of {len(unseen)} held-out "
            "texts. Nothing was saved. Choose corpora that differ in quality, or bring more texts."
        )
    QualityModel(weight.astype(np.float32), float(np.float32(bias))).save(out)
    return TrainingReport(num_good, num_bad, len(unseen), accuracy)


def _draw_heldout(labels: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """bool: whether each text is held out, `fraction` of each kind."""
    is_heldout = np.zeros(len(labels), bool)
    for label in (0, 1):
        side = random.permutation(np.flatnonzero(labels == label))
        is_heldout[side[: max(MIN_HELDOUT, int(fraction * len(side)))]] = True
    return is_heldout


def _fit(texts: Sequence[_Text], random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic regression, in which both kinds weigh the same."""
    side_weight = len(texts) / (2 * np.bincount([label for _, label in texts]))
    weight, squares, bias = np.zeros(NUM_FEATURES), np.full(NUM_FEATURES, WEIGHT_SCALE), 0.0
    for _ in range(EPOCHS):
        for number in random.permutation(len(texts)):
            (used, shares), label = texts[number]
            error = side_weight[label] * (_sigmoid(weight[used] @ shares + bias) - label)
            gradient = error * shares
            squares[used] += gradient**2
            weight[used] -= LEARNING_RATE * gradient / np.sqrt(squares[used])
            bias -= 0.01 * error
    return weight, bias


def _shares(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The features of a text and the share that each has."""
    used, counts = np.unique(features(Characters(text).words.hashes, NUM_FEATURES), return_counts=True)
    return used, counts / max(1, counts.sum())


def _sigmoid(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logit)))
