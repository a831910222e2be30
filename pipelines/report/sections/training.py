"""How training went."""

import numpy as np

from pipelines.report.figures.training import SMOOTHED_SHARE
from pipelines.report.html.markup import Html, section, table, text
from pipelines.report.summary.run import PhaseSummary, RunSummary


def training_section(summary: RunSummary, loss: Html, expert_load: Html | None) -> Html:
    header = ["phase", "steps", "first step", f"last {SMOOTHED_SHARE:.0%} of steps", "busiest expert, 1 = balanced"]
    rows = [
        [
            text(phase.plan.phase),
            text(f"{len(phase.history['step']):,}"),
            text(f"{phase.history['loss'][0]:.3f}"),
            text(f"{_final_loss(phase):.3f}"),
            text(f"{np.nanmax(phase.expert_load):.2f}" if expert_load else "no experts"),
        ]
        for phase in summary.phases
    ]
    lead = "Cross-entropy in nats per predicted token, and how evenly the router spreads its work."
    shown = [expert_load] if expert_load else []
    return section("training", "Training", lead, loss, table(header, rows, numbers=4), *shown)


def _final_loss(phase: PhaseSummary) -> float:
    loss = phase.history["loss"]
    return float(loss[-max(1, int(len(loss) * SMOOTHED_SHARE)) :].mean())
