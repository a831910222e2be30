"""Scores of checkpoints over their training tokens and compute: one panel for each measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from pipelines.artifacts.evaluation import Score, Scores
from pipelines.report.figures.retrieval import is_cell, retrieval
from pipelines.report.figures.style import COLOURS, INK, measure_name
from pipelines.report.summary.settings import FLOPS_PER_PARAMETER

COLUMNS = 4
PANEL = (2.3, 1.9)
"""Width and height of a panel in inches."""


def draw_curves(scores: Mapping[str, Scores]) -> dict[str, Figure]:
    """Figures by name, scores in the order of the checkpoints' tokens: over tokens, and over FLOPs if the parameters of
    all are known; over the checkpoints' names if their tokens are not known; none of a single checkpoint, whose scores
    are a column of the page's table. Retrieval by length and depth is that of the last checkpoint."""
    last = [*scores.values()][-1].scores
    return _curves(scores) | ({"retrieval": retrieval(last)} if any(map(is_cell, last)) else {})


def _curves(scores: Mapping[str, Scores]) -> dict[str, Figure]:
    if len(scores) < 2:
        return {}
    if not all(each.tokens for each in scores.values()):
        return {"scores": _draw(scores, range(len(scores)), "")}
    tokens = [each.tokens for each in scores.values()]
    figures = {"tokens": _draw(scores, tokens, "training tokens")}
    if all(each.active_parameters for each in scores.values()):
        flops = [FLOPS_PER_PARAMETER * each.active_parameters * each.tokens for each in scores.values()]
        figures["flops"] = _draw(scores, flops, "training FLOPs")
    return figures


def _draw(scores: Mapping[str, Scores], positions: Sequence[float], axis: str) -> Figure:
    measures = list(dict.fromkeys(name for each in scores.values() for name in each.compared))
    rows = -(-len(measures) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL[0], rows * PANEL[1] + 0.3))
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, measure in zip(panels, measures, strict=False):
        points = [
            (x, each.scores[measure])
            for x, each in zip(positions, scores.values(), strict=True)
            if measure in each.scores
        ]
        _draw_measure(axes, measure, points)
        _scale(axes, list(scores), axis)
    for axes in panels[len(measures) :]:
        axes.set_visible(False)
    if axis:
        # Below the panels: a first row that is not full leaves the right side empty.
        figure.supxlabel(axis, x=min(len(measures), COLUMNS) / COLUMNS / 2, fontsize=9)
    return figure


def _draw_measure(axes: Axes, measure: str, points: Sequence[tuple[float, Score]]) -> None:
    values = np.array([score.value for _, score in points])
    low = np.array([score.value if score.low is None else score.low for _, score in points])
    high = np.array([score.value if score.high is None else score.high for _, score in points])
    look: Any = {"color": COLOURS[0], "marker": "o", "ms": 3.5, "capsize": 2, "lw": 1.4}
    axes.errorbar([x for x, _ in points], values, np.maximum([values - low, high - values], 0.0), **look)
    if chance := points[-1][1].chance:
        axes.axhline(chance, color=INK, lw=0.8, ls=":")
    kind, _, part = measure.partition("/")
    axes.set_title(f"{measure_name(kind)}\n{part.replace('_', ' ')}" if part else measure_name(kind), fontsize=8)
    axes.tick_params(labelsize=7)


def _scale(axes: Axes, labels: Sequence[str], axis: str) -> None:
    if not axis:
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
