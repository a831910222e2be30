"""Figures of training, over the tokens of the run: the mixture, the losses, the optimizer, the speed, the experts."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from pipelines.artifacts.sequence_order.phase_plan import PlanPart
from pipelines.report.figures.style import INK, OVERALL, card, colours, legend_below
from pipelines.report.summary.phases import PhaseSummary
from pipelines.report.summary.run import RunSummary

SMOOTHED_SHARE = 0.05
"""Of a phase's steps, over which the bold lines are a running mean."""
MAX_SPAN = 4.0
"""Above this ratio of the largest to the usual value, a curve is drawn on a logarithmic axis."""

Column = Callable[[PhaseSummary], np.ndarray]


def planned_mixture(summary: RunSummary) -> Figure:
    """Planned share of each corpus over the tokens of the run."""
    figure, axes = card()
    palette = colours([corpus.name for corpus in summary.corpora])
    edges = np.cumsum([0, *(phase.plan.num_tokens for phase in summary.phases)])
    parts = [part for phase in summary.phases for part in phase.plan.parts]
    bounds = np.cumsum([0, *(part.num_sequences * part.plan.sequence_length for part in parts)])
    tokens = np.repeat(bounds, 2)[1:-1]
    shares = {name: np.concatenate([_shares(part, name) for part in parts]) for name in palette}
    used = {name: share for name, share in shares.items() if share.any()}
    axes.stackplot(tokens, list(used.values()), labels=list(used), colors=[palette[name] for name in used], alpha=0.85)
    axes.set(ylim=(0, 1), ylabel="share of the phase")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _over_tokens(axes, summary.phases, edges)
    legend_below(figure, axes)
    return figure


def loss(summary: RunSummary) -> Figure:
    """Every step, and a running mean that starts again with each phase; amendments as dotted lines."""
    figure, axes = card()
    _curve(axes, summary.phases, lambda phase: phase.history["loss"])
    for phase in summary.phases:
        for step, changes in phase.amendments.items():
            at = np.interp(step, phase.history["step"], phase.history["tokens"])
            axes.axvline(at, color=INK, lw=0.8, ls=":")
            axes.text(at, 0.97, f" {changes}", va="top", fontsize="small", transform=axes.get_xaxis_transform())
    axes.set_ylabel("loss, nats per token")
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    return figure


def loss_by_corpus(summary: RunSummary) -> Figure:
    """Running means of the loss on the tokens of each corpus."""
    figure, axes = card()
    palette = colours([corpus.name for corpus in summary.corpora])
    for phase in summary.phases:
        for name, losses in phase.loss_by_corpus.items():
            is_read = ~np.isnan(losses)
            axes.plot(phase.history["tokens"][is_read], running_mean(losses[is_read]), color=palette[name], lw=1.5)
    for name in sorted({name for phase in summary.phases for name in phase.loss_by_corpus}):
        axes.plot([], [], color=palette[name], lw=1.5, label=name)
    axes.set_ylabel("loss, nats per token")
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    legend_below(figure, axes)
    return figure


def gradient_norm(summary: RunSummary) -> Figure:
    """Of every step that changed weights, before clipping."""
    figure, axes = card()
    _curve(axes, summary.phases, lambda phase: phase.history["gradient_norm"])
    norms = np.concatenate([phase.history["gradient_norm"] for phase in summary.phases])
    if norms.min() > 0 and norms.max() > MAX_SPAN * np.median(norms):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("gradient norm (L2)")
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    return figure


def learning_rate(summary: RunSummary) -> Figure:
    """Of every step, without the factors of single layers."""
    figure, axes = card()
    for phase in summary.phases:
        axes.plot(phase.history["tokens"], phase.history["learning_rate"], color=OVERALL, lw=1.8)
    axes.set(ylabel="learning rate", ylim=(0, None))
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    return figure


def throughput(summary: RunSummary) -> Figure:
    """Tokens per second of all workers."""
    figure, axes = card()
    for phase in summary.phases:
        axes.step(*phase.throughput.T, color=OVERALL, lw=1.6, where="pre")
    axes.set(ylabel="tokens per second", ylim=(0, None))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    return figure


def busiest_expert(summary: RunSummary) -> Figure:
    """Load of the busiest expert at every step, mean over layers."""
    figure, axes = card()
    _curve(axes, summary.phases, lambda phase: phase.history["max_expert_load"])
    axes.axhline(1.0, color=INK, lw=0.8, ls="--", alpha=0.6)
    axes.set(ylabel="busiest expert, 1 = balanced", ylim=(0, None))
    _over_tokens(axes, summary.phases, _token_edges(summary.phases))
    return figure


def expert_load(summary: RunSummary) -> Figure:
    """Share of assignments of each expert, 1 being perfect balance, one panel a phase."""
    figure, first = card()
    first.remove()
    panels = list(figure.subplots(1, len(summary.phases), squeeze=False)[0])
    for axes, phase in zip(panels, summary.phases, strict=True):
        image = axes.imshow(phase.expert_load, cmap="PuOr_r", vmin=0, vmax=2, aspect="auto")
        axes.set_title(phase.plan.phase)
        axes.set_xlabel("expert")
        axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylabel("layer")
    bar = figure.colorbar(image, ax=panels, label="load, 1 = balanced", extend="max")
    bar.outline.set_visible(False)
    return figure


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over a window of SMOOTHED_SHARE of all values around each, cut at the ends."""
    half = int(len(values) * SMOOTHED_SHARE / 2)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    positions = np.arange(len(values))
    first = np.maximum(positions - half, 0)
    stop = np.minimum(positions + half + 1, len(values))
    means: np.ndarray = (sums[stop] - sums[first]) / (stop - first)
    return means


def _curve(axes: Axes, phases: Sequence[PhaseSummary], column: Column) -> None:
    """Every step as a thin line, and their running mean as a bold one."""
    for phase in phases:
        tokens, values = phase.history["tokens"], column(phase)
        axes.plot(tokens, values, color=OVERALL, lw=0.7, alpha=0.5)
        axes.plot(tokens, running_mean(values), color=OVERALL, lw=1.8)


def _shares(part: PlanPart, corpus: str) -> np.ndarray:
    """Share of a corpus at the start and at the end of a part of a phase, between which it changes evenly."""
    read = [share.corpus for share in part.plan.shares]
    return part.mixture()[:, read.index(corpus)] if corpus in read else np.zeros(2)


def _token_edges(phases: Sequence[PhaseSummary]) -> np.ndarray:
    return np.array([0, *(phase.history["tokens"][-1] for phase in phases)])


def _over_tokens(axes: Axes, phases: Sequence[PhaseSummary], edges: np.ndarray) -> None:
    """An axis of tokens with the phases' names above it, and a line where each ends, at `edges`."""
    widths = np.diff(edges) / edges[-1]
    for phase, left, right, width in zip(phases, edges[:-1], edges[1:], widths, strict=True):
        if width > 0.02 * len(phase.plan.phase):
            middle = (left + right) / 2
            axes.text(middle, 1.03, phase.plan.phase, ha="center", transform=axes.get_xaxis_transform())
        axes.axvline(right, color=INK, lw=0.8, alpha=0.4)
    axes.set(xlim=(0, edges[-1]), xlabel="tokens")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
