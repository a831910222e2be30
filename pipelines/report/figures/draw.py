"""The figures: drawn once, kept as PNG for MLflow and as SVG for the page; the same data gives the same bytes."""

from collections.abc import Callable

from matplotlib.figure import Figure

from pipelines.report.figures.data import funnel
from pipelines.report.figures.scores import INTELLIGENCE, compute, scores
from pipelines.report.figures.training import expert_load, loss, planned_mixture
from pipelines.report.summary.run import RunSummary


def draw_all(summary: RunSummary) -> dict[str, Figure]:
    """Every figure by name. To be called, and its result written, inside `house_style`."""
    drawings: dict[str, Callable[[RunSummary], Figure]] = {
        "scores": scores,
        "mixture": planned_mixture,
        "loss": loss,
        "funnel": funnel,
    }
    if all(phase.expert_load.size for phase in summary.phases):
        drawings["expert_load"] = expert_load
    if any(INTELLIGENCE in phase.scores.scores for phase in summary.phases):
        drawings["compute"] = compute
    return {name: draw(summary) for name, draw in drawings.items()}
