"""Figures of scores: by phase, and against the compute of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pipelines.artifacts.evaluation import Score
from pipelines.report.figures.published import published_points
from pipelines.report.figures.style import COLOURS, MARKERS, card, colours, legend_below, measure_name
from pipelines.report.summary.phases import PhaseSummary
from pipelines.report.summary.run import RunSummary

INTELLIGENCE = "enterprise_intelligence"
BY_POSITION = "bits_per_byte_by_position"


def bits_per_byte(summary: RunSummary) -> Figure:
    """Of the held-out documents of each corpus, over phases."""
    return _over_phases(summary, bits_measures(summary), "bits per byte")


def right_answers(summary: RunSummary) -> Figure:
    """The headline measures of the tasks, and their means, over phases."""
    return _over_phases(summary, answer_measures(summary), "share of right answers")


def bits_measures(summary: RunSummary) -> list[str]:
    return [name for name in summary.measures if name.startswith("bits_per_byte/")]


def answer_measures(summary: RunSummary) -> list[str]:
    return [name for name in summary.phases[-1].headlines if "bits_per_byte" not in name]


def bits_by_position(scores: Mapping[str, Score]) -> Figure:
    """Of the held-out documents of each corpus, over the position that ends each bucket."""
    figure, axes = card()
    names = sorted({corpus for corpus, _ in map(_bucket, scores) if corpus})
    palette = colours(names)
    for corpus in names:
        by_end = {end: scores[name] for name in scores for found, end in [_bucket(name)] if found == corpus}
        ends = sorted(by_end)
        measured = [by_end[end] for end in ends]
        look: Any = {"capsize": 3, "marker": "o", "ms": 4, "color": palette[corpus], "label": corpus}
        axes.errorbar(ends, [score.value for score in measured], _whiskers(measured), **look)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="position, in tokens", ylabel="bits per byte")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda end, _: f"{end:,.0f}"))
    legend_below(figure, axes)
    return figure


def has_positions(scores: Mapping[str, Score]) -> bool:
    """Whether bits per byte were measured by position."""
    return any(corpus for corpus, _ in map(_bucket, scores))


def _bucket(measure: str) -> tuple[str, int]:
    """Corpus and end of a bucket of positions, such as `bits_per_byte_by_position/web/2048`; else ("", 0)."""
    kind, _, rest = measure.partition("/")
    corpus, _, end = rest.rpartition("/")
    return (corpus, int(end)) if kind == BY_POSITION and end.isdigit() else ("", 0)


def compute(summary: RunSummary) -> Figure:
    """Enterprise intelligence of this run's checkpoints over active parameters x tokens."""
    figure, axes = card()
    phases = [phase.scores for phase in summary.phases if INTELLIGENCE in phase.scores.scores]
    products, intelligence = _products(summary)
    _draw_run(axes, products, intelligence)
    for x, score, scores in zip(products, intelligence, phases, strict=True):
        # Above the interval, clear of whiskers and of the line to the next point.
        label = f"{scores.phase}\nn = {score.n:,}"
        axes.annotate(label, (x, _top(score)), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    top = max(0.01, *map(_top, intelligence))
    # Room for the labels of the first and the last, and above the whiskers.
    axes.set(xlim=(min(products) / 3, max(products) * 3), ylim=(0, 1.4 * top), ylabel="enterprise intelligence")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


def compute_beside_arctic(summary: RunSummary) -> Figure:
    """The same next to published models, whose compute is so much larger that this run's checkpoints coincide."""
    figure, axes = card()
    _draw_run(axes, *_products(summary))
    for color, point in zip(COLOURS[1:], published_points(), strict=False):
        label = f"{point.model}, as published"
        axes.plot(point.compute, point.value, "x", color=color, markersize=9, label=label, ls="none")
    axes.set(ylim=(0, 1), ylabel="enterprise intelligence")
    legend_below(figure, axes)
    return figure


def _products(summary: RunSummary) -> tuple[list[int], list[Score]]:
    """Active parameters x tokens, and enterprise intelligence, of the checkpoints that have it."""
    scores = [phase.scores for phase in summary.phases if INTELLIGENCE in phase.scores.scores]
    return [each.active_parameters * each.tokens for each in scores], [each.scores[INTELLIGENCE] for each in scores]


def _draw_run(axes: Axes, products: Sequence[int], intelligence: Sequence[Score]) -> None:
    style: Any = {"color": COLOURS[0], "marker": "o", "capsize": 3, "label": "this run"}
    axes.errorbar(products, [score.value for score in intelligence], _whiskers(intelligence), **style)
    axes.set(xscale="log", xlabel="active parameters x training tokens")


def _over_phases(summary: RunSummary, measures: Sequence[str], unit: str) -> Figure:
    figure, axes = card()
    palette = colours([corpus.name for corpus in summary.corpora])
    for number, measure in enumerate(measures):
        kind, _, part = measure.partition("/")
        label = part if kind == "bits_per_byte" else measure_name(kind)
        shift = min(0.06, 0.8 / len(measures)) * (number - (len(measures) - 1) / 2)
        colour = palette.get(part, COLOURS[number % len(COLOURS)])
        marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
        _draw_measure(axes, summary.phases, measure, shift, {"color": colour, "marker": marker, "label": label})
    axes.set_xticks(range(len(summary.phases)), [phase.scores.phase for phase in summary.phases])
    axes.set(xlim=(-0.5, len(summary.phases) - 0.5), ylabel=unit)
    axes.set_ylim(bottom=0)
    legend_below(figure, axes)
    return figure


def _draw_measure(
    axes: Axes, phases: Sequence[PhaseSummary], measure: str, shift: float, style: Mapping[str, str]
) -> None:
    measured = [(x, phase.scores.scores[measure]) for x, phase in enumerate(phases) if measure in phase.scores.scores]
    values = [score.value for _, score in measured]
    positions = [x + shift for x, _ in measured]
    look: Any = {"capsize": 3, "lw": 1.6, "ms": 5, **style}
    axes.errorbar(positions, values, _whiskers([score for _, score in measured]), **look)


def _whiskers(scores: Sequence[Score]) -> np.ndarray:
    """float64 [2, scores]: length of the interval below and above; no whisker if there is none."""
    low = [score.value if score.low is None else score.low for score in scores]
    values = np.array([score.value for score in scores])
    return np.maximum([values - low, [_top(score) for score in scores] - values], 0.0)


def _top(score: Score) -> float:
    return score.value if score.high is None else score.high
