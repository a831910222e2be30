"""How training went: curves over the tokens of the run, and a line for each phase."""

from collections.abc import Sequence

import numpy as np

from pipelines.report.figures.training import SMOOTHED_SHARE
from pipelines.report.html.markup import Html, grid, section, table, text
from pipelines.report.summary.phases import PhaseSummary
from pipelines.report.summary.run import RunSummary


def training_section(summary: RunSummary, drawings: Sequence[Html]) -> Html:
    """`drawings`: the curves, in the order in which they are shown."""
    header = [
        "phase",
        "steps",
        "loss at the first step",
        f"loss over the last {SMOOTHED_SHARE:.0%}",
        "tokens per second",
        "worker-hours",
        "busiest expert, 1 = balanced",
    ]
    return section(
        "training",
        "Training",
        "Cross-entropy in nats per predicted token, the optimizer's numbers, the speed, and how evenly the router "
        "spreads its work. The thin lines show every step.",
        grid(drawings),
        table(header, [_row(phase) for phase in summary.phases], numbers=len(header) - 1),
    )


def _row(phase: PhaseSummary) -> list[Html]:
    steps = f"{len(phase.history['step']):,}" + (f" ({phase.num_skipped:,} skipped)" if phase.num_skipped else "")
    rates = phase.throughput[:, 1]
    return [
        text(phase.plan.phase),
        text(steps),
        text(f"{phase.history['loss'][0]:.3f}"),
        text(f"{_final_loss(phase):.3f}"),
        text(f"{np.median(rates):,.0f}" if len(rates) else "not recorded"),
        text(f"{phase.own_hours.worker_hours:.3g}"),
        text(f"{np.nanmax(phase.expert_load):.2f}" if phase.expert_load.size else "no experts"),
    ]


def _final_loss(phase: PhaseSummary) -> float:
    loss = phase.history["loss"]
    return float(loss[-max(1, int(len(loss) * SMOOTHED_SHARE)) :].mean())
