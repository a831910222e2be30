"""Figures of training: the mixture, the loss, the load of the experts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from pipelines.artifacts.phase_plan import mixture
from pipelines.report.figures.style import INK, OVERALL, colours, row
from pipelines.report.summary.run import PhaseSummary, RunSummary

SMOOTHED_SHARE = 0.05
"""Of a phase's steps, over which the bold loss line is a running mean."""


def planned_mixture(summary: RunSummary) -> Figure:
    """Planned share of each corpus over the tokens of the run."""
    figure = Figure(figsize=(9.2, 2.9))
    (axes,) = row(figure, 1)
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


def loss(summary: RunSummary) -> Figure:
    """Training loss over tokens: every step, and a running mean that starts again with each phase; amendments as dotted
    lines."""
    figure = Figure(figsize=(9.2, 3.1))
    (axes,) = row(figure, 1)
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


def expert_load(summary: RunSummary) -> Figure:
    """Share of assignments of each expert, 1 being perfect balance, one panel a phase."""
    layers = max(phase.expert_load.shape[0] for phase in summary.phases)
    figure = Figure(figsize=(9.2, 1.5 + 0.3 * layers))
    panels = row(figure, len(summary.phases))
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
