"""The figures: drawn once, kept as PNG for MLflow and as SVG for the page; the same data gives the same bytes."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter, PercentFormatter

from pipelines.artifacts.evaluation import Score
from pipelines.artifacts.phase_plan import mixture
from pipelines.report.summary import PhaseSummary, RunSummary

INK = "#1d2127"
"""Text and lines; in the page's SVG it becomes the page's own text colour, light or dark."""
COLOURS = ("#4c8dd6", "#e08e45", "#4fa88b", "#c46a9e", "#a89a38", "#d1605e", "#5fb0c4")
"""Of middle lightness, to be read on white and on black."""
MARKERS = "os^D"
"""The next one where there are more series than colours."""
OVERALL = "#8a7fd4"
"""For what belongs to no corpus."""
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "arctic",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
INTELLIGENCE = "enterprise_intelligence"
NAMES = {
    "text_to_sql": "text to SQL",
    "humaneval_plus": "HumanEval+",
    "mbpp_plus": "MBPP+",
    "spider": "Spider",
    "ifeval": "IFEval",
    "gsm8k": "GSM8K",
    "mmlu": "MMLU",
    "arc_easy": "ARC easy",
    "arc_challenge": "ARC challenge",
    "boolq": "BoolQ",
    "commonsense_qa": "CommonsenseQA",
    "copa": "COPA",
    "hellaswag": "HellaSwag",
    "lambada_openai": "LAMBADA",
    "openbookqa": "OpenBookQA",
    "piqa": "PIQA",
    "race": "RACE",
    "winogrande": "WinoGrande",
}
"""Tasks as people write them, where that is not their name with blanks."""
PUBLISHED = (17.3e9 * 3.5e12, 0.652)
"""Active parameters x tokens and enterprise intelligence of the released Arctic, by the formula from its published
parts (coding 64.3, Spider 78.9, IFEval 52.4)."""
DPI = 150
SMOOTHED_SHARE = 0.05
"""Of a phase's steps, over which the bold loss line is a running mean."""


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib without a screen, in the report's style."""
    with mpl.rc_context(STYLE):
        yield


def draw_all(summary: RunSummary) -> dict[str, Figure]:
    """Every figure by name. To be called, and its result written, inside `house_style`."""
    drawings: dict[str, Callable[[RunSummary], Figure]] = {
        "scores": _scores,
        "mixture": _mixture,
        "loss": _loss,
        "funnel": _funnel,
    }
    if all(phase.expert_load.size for phase in summary.phases):
        drawings["expert_load"] = _expert_load
    if any(INTELLIGENCE in phase.scores.scores for phase in summary.phases):
        drawings["compute"] = _compute
    return {name: draw(summary) for name, draw in drawings.items()}


def write_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element without ids of its own, in the colour of the text around it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip().replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{escape(label)}"', text, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a name, the same in every figure."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(sorted(names))}


def measure_name(kind: str) -> str:
    """A task, or a mean over tasks, as people write it."""
    return NAMES.get(kind, kind.replace("_", " "))


def _scores(summary: RunSummary) -> Figure:
    """Bits per byte of all corpora in one panel, the headlines of the tasks in another, over phases."""
    bits = [name for name in summary.measures if name.startswith("bits_per_byte/")]
    rights = [name for name in summary.phases[-1].headlines if "bits_per_byte" not in name]
    panels = [panel for panel in (("bits per byte", bits), ("share of right answers", rights)) if panel[1]]
    palette = colours([corpus.name for corpus in summary.corpora])
    figure = Figure(figsize=(9.2, 3.3))
    for axes, (title, measures) in zip(_row(figure, len(panels)), panels, strict=True):
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


def _compute(summary: RunSummary) -> Figure:
    """Enterprise intelligence over active parameters x tokens: this run's checkpoints from near, and beside the
    released Arctic, whose compute is so much larger that they fall together there."""
    figure = Figure(figsize=(9.2, 3.3))
    phases = [phase.scores for phase in summary.phases if INTELLIGENCE in phase.scores.scores]
    flops = [scores.active_parameters * scores.tokens for scores in phases]
    intelligence = [scores.scores[INTELLIGENCE] for scores in phases]
    near, far = _row(figure, 2)
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


def _mixture(summary: RunSummary) -> Figure:
    """Planned share of each corpus over the tokens of the run."""
    figure = Figure(figsize=(9.2, 2.9))
    (axes,) = _row(figure, 1)
    palette = colours([corpus.name for corpus in summary.corpora])
    edges = np.cumsum([0, *(phase.plan.num_tokens for phase in summary.phases)])
    tokens = np.repeat(edges, 2)[1:-1]
    shares = {name: np.concatenate([_shares(phase, name) for phase in summary.phases]) for name in palette}
    used = {name: share for name, share in shares.items() if share.any()}
    axes.stackplot(tokens, list(used.values()), labels=list(used), colors=[palette[name] for name in used], alpha=0.85)
    _mark_phases(axes, summary.phases, edges)
    axes.set(xlim=(0, edges[-1]), ylim=(0, 1), xlabel="tokens", ylabel="share of the phase")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside right center", reverse=True)
    return figure


def _shares(phase: PhaseSummary, corpus: str) -> np.ndarray:
    """Share of a corpus at the start and at the end of a phase, between which it changes evenly."""
    read = [share.corpus for share in phase.plan.shares]
    return mixture(phase.plan.shares, [0, 1])[:, read.index(corpus)] if corpus in read else np.zeros(2)


def _loss(summary: RunSummary) -> Figure:
    """Training loss over tokens: every step, and a running mean that starts again with each phase; amendments as dotted
    lines."""
    figure = Figure(figsize=(9.2, 3.1))
    (axes,) = _row(figure, 1)
    for phase in summary.phases:
        tokens, loss = phase.history["tokens"], phase.history["loss"]
        axes.plot(tokens, loss, color=OVERALL, lw=0.7, alpha=0.5)
        axes.plot(tokens, running_mean(loss), color=OVERALL, lw=1.8)
        for step, changes in phase.amendments.items():
            at = np.interp(step, phase.history["step"], tokens)
            axes.axvline(at, color=INK, lw=0.8, ls=":")
            axes.text(at, 0.97, f" {changes}", va="top", fontsize="small", transform=axes.get_xaxis_transform())
    edges = np.array([0, *(phase.history["tokens"][-1] for phase in summary.phases)])
    _mark_phases(axes, summary.phases, edges)
    axes.set(xlim=(0, edges[-1]), xlabel="tokens", ylabel="loss, nats per token")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _mark_phases(axes: Axes, phases: Sequence[PhaseSummary], edges: np.ndarray) -> None:
    """Phase names above the panel, and a line where each ends; `edges` in the units of the x axis."""
    for phase, left, right in zip(phases, edges[:-1], edges[1:], strict=True):
        axes.text((left + right) / 2, 1.03, phase.plan.phase, ha="center", transform=axes.get_xaxis_transform())
        axes.axvline(right, color=INK, lw=0.8, alpha=0.5)


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over a window of SMOOTHED_SHARE of all values around each, cut at the ends."""
    half = int(len(values) * SMOOTHED_SHARE / 2)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    positions = np.arange(len(values))
    first = np.maximum(positions - half, 0)
    stop = np.minimum(positions + half + 1, len(values))
    means: np.ndarray = (sums[stop] - sums[first]) / (stop - first)
    return means


def _expert_load(summary: RunSummary) -> Figure:
    """Share of assignments of each expert, 1 being perfect balance, one panel a phase."""
    layers = max(phase.expert_load.shape[0] for phase in summary.phases)
    figure = Figure(figsize=(9.2, 1.5 + 0.3 * layers))
    panels = _row(figure, len(summary.phases))
    for axes, phase in zip(panels, summary.phases, strict=True):
        image = axes.imshow(phase.expert_load, cmap="PuOr_r", vmin=0, vmax=2, aspect="auto")
        axes.set_title(phase.plan.phase)
        axes.set_xlabel("expert")
        axes.grid(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("layer")
    bar = figure.colorbar(image, ax=panels, label="load, 1 = balanced", extend="max")
    bar.outline.set_visible(False)
    return figure


def _funnel(summary: RunSummary) -> Figure:
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


def _row(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(1, max(count, 1), squeeze=False)[0])
