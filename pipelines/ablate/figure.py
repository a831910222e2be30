"""Figure of an ablation: how well each method ranks held-out mixtures, and the position of the best mixture."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pipelines.ablate.regression import Regression

COLOURS = ("#4c8dd6", "#e08e45")


def draw(
    measured: np.ndarray,
    regressions: Sequence[Regression],
    weights: np.ndarray,
    own: Mapping[str, float],
    best: Mapping[str, float],
) -> Figure:
    """`measured`: [n] objective of each mixture; `weights`: [measures] of the objective; `own` and `best`: mixtures."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ranks, bars = figure.subplots(1, 2)
    for colour, regression in zip(COLOURS, regressions, strict=True):
        label = f"{regression.method} (rank correlation {regression.rank_correlation:.2f})"
        ranks.plot(measured, regression.heldout @ weights, "o", color=colour, label=label)
    ends = [measured.min(), measured.max()]
    ranks.plot(ends, ends, color="#888888", linewidth=0.8)
    ranks.set(
        xlabel="measured bits per byte", ylabel="predicted, mixture held out", title="Every mixture from the others"
    )
    ranks.legend(frameon=False, fontsize=8)
    positions = np.arange(len(own))
    for offset, (label, mixture, colour) in enumerate(
        (("recipe", own, "#9aa0a8"), ("best predicted", best, COLOURS[0]))
    ):
        bars.bar(positions + (offset - 0.5) * 0.4, [mixture[name] for name in own], 0.4, label=label, color=colour)
    bars.set_xticks(positions, list(own))
    bars.set(ylabel="weight", title="Mixture of the phase")
    bars.legend(frameon=False, fontsize=8)
    return figure
