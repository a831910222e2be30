"""Curves of two runs over each other."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from pipelines.report.figures.style import COLOURS, OVERALL, card, legend_below
from pipelines.report.figures.training import running_mean
from pipelines.report.summary.comparison import RunComparison
from pipelines.report.summary.phases import PhaseSummary

CAPTIONS = {
    "compared_loss": "Training loss of both runs, running means. Mixtures differ if recipes do.",
    "compared_gradient_norm": "Gradient norm of both runs, running means.",
    "compared_throughput": "Throughput of both runs.",
}
Series = Callable[[PhaseSummary], tuple[np.ndarray, np.ndarray]]


def draw_comparison(comparison: RunComparison) -> dict[str, Figure]:
    """Figures by name. To be called, and its result written, inside `figure_style`."""
    drawn = {
        "compared_loss": _draw(comparison, _smoothed("loss"), "loss, nats per token"),
        "compared_gradient_norm": _draw(comparison, _smoothed("gradient_norm"), "gradient norm (L2)"),
    }
    runs = (comparison.summary, comparison.other_summary)
    if all(len(phase.throughput) for run in runs for phase in run.phases):
        drawn["compared_throughput"] = _draw(comparison, _throughput, "tokens per second", from_zero=True)
    return drawn


def _draw(comparison: RunComparison, series: Series, unit: str, *, from_zero: bool = False) -> Figure:
    figure, axes = card()
    runs = {comparison.other: comparison.other_summary, comparison.name: comparison.summary}
    for (name, run), colour in zip(runs.items(), (COLOURS[1], OVERALL), strict=True):
        for number, phase in enumerate(run.phases):
            axes.plot(*series(phase), color=colour, lw=1.6, label=name if number == 0 else None)
    axes.set(xlabel="tokens", ylabel=unit, xlim=(0, None))
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend_below(figure, axes)
    return figure


def _smoothed(column: str) -> Series:
    return lambda phase: (phase.history["tokens"], running_mean(phase.history[column]))


def _throughput(phase: PhaseSummary) -> tuple[np.ndarray, np.ndarray]:
    return phase.throughput[:, 0], phase.throughput[:, 1]
