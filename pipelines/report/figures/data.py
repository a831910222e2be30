"""Figures of the data: how much each stage leaves."""

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from pipelines.report.figures.style import colours
from pipelines.report.summary.run import RunSummary


def funnel(summary: RunSummary) -> Figure:
    """What is left of documents and bytes after each stage, in percent of what was sourced."""
    figure = Figure(figsize=(9.2, 0.7 + 1.1 * len(summary.corpora)))
    grid = figure.subplots(len(summary.corpora), 2, squeeze=False, sharex=True)
    palette = colours([corpus.name for corpus in summary.corpora])
    for row, corpus in zip(grid, summary.corpora, strict=True):
        documents = {step: count.documents for step, count in corpus.steps}
        text_bytes = {step: count.text_bytes for step, count in corpus.steps}
        _bars(row[0], documents, palette[corpus.name], lambda value: f"{value:,}")
        _bars(row[1], text_bytes, palette[corpus.name], EngFormatter(unit="B", places=1, sep=" "))
        row[0].set_title(f"{corpus.name}: documents", loc="left")
        row[1].set_title("bytes of text", loc="left")
        row[1].set_yticklabels([])
    return figure


def _bars(axes: Axes, values: Mapping[str, int], colour: str, label: Callable[[int], str]) -> None:
    whole = max(next(iter(values.values())), 1)
    shares = [value / whole for value in values.values()]
    bars = axes.barh(list(values), shares, color=colour, height=0.72)
    for bar, opacity in zip(bars, (0.45, 0.7, 1.0), strict=True):
        bar.set_alpha(opacity)
    axes.bar_label(bars, [label(value) for value in values.values()], padding=4)
    axes.set_xlim(0, 1.22)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
