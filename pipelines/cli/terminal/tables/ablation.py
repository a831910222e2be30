"""The result of the search for a mixture."""

from pathlib import Path

from rich.console import Console

from pipelines.ablate.stage import Ablation
from pipelines.cli.terminal.console import print_text


def print_ablation(ablation: Ablation, folder: Path, recipe: Path, console: Console) -> None:
    """Print the result of the search, in the order in which one decides."""
    correlations = ", ".join(f"{method} {value:.2f}" for method, value in ablation.rank_correlations.items())
    mixture = ", ".join(f"{name} {weight:.4f}" for name, weight in ablation.best.items())
    lines = [
        f"rank correlation on held-out mixtures: {correlations}",
        f"mean bits per byte of {', '.join(ablation.aim)}: recipe {ablation.measured_recipe:.4f}, "
        f"best tried {ablation.measured_best:.4f}, "
        f"best predicted {ablation.predicted_best:.4f} ({ablation.method})",
        f"best tried against the recipe: {_gain_text(ablation)}",
        f"best mixture of phase {ablation.phase}: {mixture}",
        f"figure: {folder / 'figures' / 'ablation.png'}",
        f"new recipe: {recipe}",
    ]
    print_text(console, "\n" + "\n".join(lines))


def _gain_text(ablation: Ablation) -> str:
    if ablation.measured_best == ablation.measured_recipe:
        return "the recipe's own mixture is the best that was tried"
    if ablation.gain is None:
        return "too few held-out documents to compare them"
    value, low, high = ablation.gain
    return f"{value:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}{'' if ablation.is_better else ' (noise)'}"
