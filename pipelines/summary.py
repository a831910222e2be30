"""The end of a run on the terminal: scores per phase, where the report is, how to open MLflow."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.plan import PlannedStage
from infra.runner import Outcome
from pipelines.artifacts.evaluation import Scores, score_text


def print_summary(
    outcome: Outcome, planned: Sequence[PlannedStage], store: Path, seconds: float, terminal: Console
) -> None:
    """Print what came of a run."""
    built = sum(step.action == "build" and step.stage.id in outcome.artifacts for step in planned)
    reused = sum(step.action == "reuse" for step in planned)
    terminal.print(f"\n{built} stages built, {reused} reused, in {seconds:.0f} s.", highlight=False)
    evaluations = [
        Scores.read(outcome.artifacts[step.stage.id].path)
        for step in planned
        if step.stage.name == "evaluate" and step.stage.id in outcome.artifacts
    ]
    # Of a run: an evaluation alone prints its own, longer table.
    if evaluations and any(step.stage.name == "train" for step in planned):
        terminal.print()
        terminal.print(_scores_table(evaluations))
    for stage, error in outcome.failed.items():
        terminal.print(f"FAILED {stage}: {error}", style="red", markup=False, soft_wrap=True)
    for stage, because in outcome.skipped.items():
        terminal.print(f"not tried: {stage}, it waits for {because}", markup=False, soft_wrap=True)
    if "report" in outcome.artifacts:
        terminal.print(f"\nReport: {outcome.artifacts['report'].path / 'report.html'}", markup=False, soft_wrap=True)
    command = f"arctic ui --store {shlex.quote(_shortest(store))}"
    terminal.print(f"MLflow: {command}", markup=False, soft_wrap=True)


def _scores_table(evaluations: Sequence[Scores]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("after phase", no_wrap=True)
    for scores in evaluations:
        table.add_column(scores.phase, justify="right", no_wrap=True)
    table.add_row("tokens seen", *(f"{scores.tokens:,}" for scores in evaluations))
    for name in evaluations[0].scores:
        cells = [score_text(found.scores[name].value) for found in evaluations]
        table.add_row(name.replace("_", " ").replace("/", ", "), *cells)
    return table


def _shortest(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
