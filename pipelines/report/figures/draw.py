"""The figures: drawn once, kept as PNG for MLflow and as SVG for the page; the same data gives the same bytes."""

from collections.abc import Callable

from matplotlib.figure import Figure

from pipelines.report.figures import scores, training
from pipelines.report.figures.retrieval import is_cell, retrieval
from pipelines.report.figures.training import SMOOTHED_SHARE
from pipelines.report.summary.run import RunSummary

CAPTIONS = {
    "bits_per_byte": "Bits per byte of held-out documents, with 95 % intervals. Lower is better.",
    "right_answers": "Headline scores of the tasks, with 95 % intervals. Higher is better.",
    "compute": "Enterprise intelligence against training compute, with 95 % intervals.",
    "compute_beside_arctic": "The same beside the released Arctic (cross), by the formula from the parts that its "
    "makers published.",
    "retrieval": "Percent of answers that the last phase's checkpoint finds in long texts, by length and depth.",
    "bits_by_position": "Bits per byte of the last phase's checkpoint by position within long documents, with 95 % "
    "intervals. A point covers the positions since the one before. Lower is better.",
    "mixture": "Planned share of each corpus over the tokens of the run.",
    "loss": f"Training loss: every step, and a running mean over {SMOOTHED_SHARE:.0%} of the phase's steps.",
    "loss_by_corpus": "Training loss by corpus, running means. A jump at a phase's start is its mixture, not learning.",
    "gradient_norm": "Gradient norm before clipping; steps that were skipped are left out.",
    "learning_rate": "Learning rate.",
    "throughput": "Throughput of all workers, means of groups of steps.",
    "busiest_expert": "Load of the busiest expert, mean over layers; 1 (dashed) is perfect balance.",
    "expert_load": "Load of every expert at the end of each phase; 1 is perfect balance.",
}


def draw_all(summary: RunSummary) -> dict[str, Figure]:
    """Every figure by name. To be called, and its result written, inside `figure_style`."""
    drawings: dict[str, Callable[[RunSummary], Figure]] = {}
    if scores.bits_measures(summary):
        drawings["bits_per_byte"] = scores.bits_per_byte
    if scores.answer_measures(summary):
        drawings["right_answers"] = scores.right_answers
    if any(scores.INTELLIGENCE in phase.scores.scores for phase in summary.phases):
        drawings["compute"] = scores.compute
        drawings["compute_beside_arctic"] = scores.compute_beside_arctic
    last = summary.phases[-1].scores.scores
    if any(map(is_cell, last)):
        drawings["retrieval"] = lambda _: retrieval(last)
    if scores.has_positions(last):
        drawings["bits_by_position"] = lambda _: scores.bits_by_position(last)
    drawings |= {
        "mixture": training.planned_mixture,
        "loss": training.loss,
        "loss_by_corpus": training.loss_by_corpus,
        "gradient_norm": training.gradient_norm,
        "learning_rate": training.learning_rate,
    }
    if any(len(phase.throughput) for phase in summary.phases):
        drawings["throughput"] = training.throughput
    if all(phase.expert_load.size for phase in summary.phases):
        drawings["busiest_expert"] = training.busiest_expert
        drawings["expert_load"] = training.expert_load
    return {name: draw(summary) for name, draw in drawings.items()}
