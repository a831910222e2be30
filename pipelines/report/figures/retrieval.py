"""Retrieval from long texts by the last phase's checkpoint: the share found, by length and depth."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from pipelines.artifacts.evaluation import Score
from pipelines.report.figures.style import card, measure_name

CELL = re.compile(r"(long_\w+)/\w+/(\d+)/([\d.]+)")
"""A task of the suite long_context, length of a text in bytes, depth from 0 (its begin) to 1 (its end)."""
KIB = 2**10
COLUMNS = 2
"""Panels side by side."""
DARK = 0.6
"""Above this share the colour of a cell takes white letters."""


def is_cell(measure: str) -> bool:
    """Whether a measure is that of one length and one depth, which this figure shows."""
    return CELL.fullmatch(measure) is not None


def retrieval(scores: Mapping[str, Score]) -> Figure:
    """One panel a task: a column for each length of text, a row for each depth, the score in each cell."""
    figure, first = card()
    first.remove()
    tasks = sorted({match[1] for match in map(CELL.fullmatch, scores) if match})
    columns = min(COLUMNS, len(tasks))
    panels = figure.subplots(-(-len(tasks) // columns), columns, squeeze=False).reshape(-1)
    for axes, task in zip(panels, tasks, strict=False):
        _draw_panel(axes, task, scores)
    for axes in panels[len(tasks) :]:
        axes.remove()
    figure.supxlabel("KiB of text", fontsize=8)
    figure.supylabel("depth, 0 = begin", fontsize=8)
    return figure


def _draw_panel(axes: Axes, task: str, scores: Mapping[str, Score]) -> None:
    lengths, depths, shares = _table(task, scores)
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1, aspect="auto")
    axes.set_title(measure_name(task).removeprefix("long "), fontsize=8)
    axes.grid(visible=False)
    axes.tick_params(labelsize=7)
    for axis, labels in ((axes.xaxis, [f"{length / KIB:g}" for length in lengths]), (axes.yaxis, depths)):
        axis.set_major_locator(FixedLocator(range(len(labels))))
        axis.set_major_formatter(FixedFormatter([f"{label}" for label in labels]))
    for row, column in np.argwhere(np.isfinite(shares)):
        colour = "white" if shares[row, column] > DARK else "black"
        axes.annotate(f"{shares[row, column]:.2f}", (column, row), ha="center", va="center", fontsize=6, color=colour)


def _table(task: str, scores: Mapping[str, Score]) -> tuple[Sequence[int], Sequence[float], np.ndarray]:
    """Lengths, depths and the share found at each, NaN if it was not measured."""
    cells = {
        (float(match[3]), int(match[2])): score.value
        for name, score in scores.items()
        if (match := CELL.fullmatch(name)) and match[1] == task
    }
    depths, lengths = sorted({depth for depth, _ in cells}), sorted({length for _, length in cells})
    return lengths, depths, np.array([[cells.get((depth, length), np.nan) for length in lengths] for depth in depths])
