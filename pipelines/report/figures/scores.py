"""Figures of scores: by phase, and against the compute of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipelines.artifacts.evaluation import Score
from pipelines.report.figures.style import COLOURS, MARKERS, colours, measure_name, row
from pipelines.report.summary.run import PhaseSummary, RunSummary

INTELLIGENCE = "enterprise_intelligence"
PUBLISHED = (17.3e9 * 3.5e12, 0.652)
"""Active parameters x tokens and enterprise intelligence of the released Arctic, by the formula from its published
parts (coding 64.3, Spider 78.9, IFEval 52.4)."""


def scores(summary: RunSummary) -> Figure:
    """Bits per byte of all corpora in one panel, the headlines of the tasks in another, over phases."""
    bits = [name for name in summary.measures if name.startswith("bits_per_byte/")]
    rights = [name for name in summary.phases[-1].headlines if "bits_per_byte" not in name]
    panels = [panel for panel in (("bits per byte", bits), ("share of right answers", rights)) if panel[1]]
    palette = colours([corpus.name for corpus in summary.corpora])
    figure = Figure(figsize=(9.2, 3.3))
    for axes, (title, measures) in zip(row(figure, len(panels)), panels, strict=True):
        for number, measure in enumerate(measures):
            kind, _, part = measure.partition("/")
            label = part if measures is bits else measure_name(kind)
            shift = min(0.06, 0.8 / len(measures)) * (number - (len(measures) - 1) / 2)
            colour = palette.get(part, COLOURS[number % len(COLOURS)])
            marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
            _draw_measure(axes, summary.phases, measure, shift, {"color": colour, "marker": marker, "label": label})
        axes.set_title(title)
        axes.set_xticks(range(len(summary.phases)), [phase.scores.phase for phase in summary.phases])
        axes.set_xlim(-0.5, len(summary.phases) - 0.5)
        axes.set_ylim(bottom=0)
        # Beside the panel: among many whiskers no corner is free.
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def compute(summary: RunSummary) -> Figure:
    """Enterprise intelligence over active parameters x tokens: this run's checkpoints from near, and beside the
    released Arctic, whose compute is so much larger that they fall together there."""
    figure = Figure(figsize=(9.2, 3.3))
    phases = [phase.scores for phase in summary.phases if INTELLIGENCE in phase.scores.scores]
    flops = [scores.active_parameters * scores.tokens for scores in phases]
    intelligence = [scores.scores[INTELLIGENCE] for scores in phases]
    near, far = row(figure, 2)
    for axes in (near, far):
        style: Any = {"color": COLOURS[0], "marker": "o", "capsize": 3}
        values = [score.value for score in intelligence]
        axes.errorbar(flops, values, _whiskers(intelligence), label="this run, 95 % interval", **style)
        axes.set(xscale="log", xlabel="active parameters x training tokens")
    for x, score, scores in zip(flops, intelligence, phases, strict=True):
        # Above the interval, where neither a whisker nor the line to the next point runs.
        label = f"{scores.phase}\nn = {score.n:,}"
        near.annotate(label, (x, _top(score)), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    top = max(0.01, *map(_top, intelligence))
    # Room for the labels of the first and the last, and above the whiskers.
    near.set(xlim=(min(flops) / 3, max(flops) * 3), ylim=(0, 1.4 * top))
    near.set(title="this run", ylabel="enterprise intelligence")
    near.xaxis.set_minor_formatter(NullFormatter())
    far.plot(*PUBLISHED, "x", color=COLOURS[1], markersize=9, label="Arctic, as published", ls="none")
    far.set(title="beside the released Arctic", ylim=(0, 1))
    far.legend(loc="upper left", fontsize=8)
    return figure


def _draw_measure(
    axes: Axes, phases: Sequence[PhaseSummary], measure: str, shift: float, style: Mapping[str, str]
) -> None:
    measured = [(x, phase.scores.scores[measure]) for x, phase in enumerate(phases) if measure in phase.scores.scores]
    values = [score.value for _, score in measured]
    positions = [x + shift for x, _ in measured]
    look: Any = {"capsize": 3, "lw": 1.6, **style}
    axes.errorbar(positions, values, _whiskers([score for _, score in measured]), **look)


def _whiskers(scores: Sequence[Score]) -> np.ndarray:
    """float64 [2, scores]: how far the interval reaches below and above; no whisker where there is none."""
    low = [score.value if score.low is None else score.low for score in scores]
    values = np.array([score.value for score in scores])
    return np.maximum([values - low, [_top(score) for score in scores] - values], 0.0)


def _top(score: Score) -> float:
    return score.value if score.high is None else score.high
