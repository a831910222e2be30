"""The end of a run on the terminal: counts, scores per phase, failures, and where to look further."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.session import RunResult
from pipelines.artifacts.evaluation import Scores, score_text
from pipelines.artifacts.exported import MODEL
from pipelines.cli.terminal.console import print_text
from pipelines.cli.terminal.warnings import print_warnings


def print_summary(result: RunResult, console: Console) -> None:
    """Print the outcome of a run."""
    statuses = [stage.status for stage in result.stages.values()]
    counts = f"{statuses.count('built')} stages built, {statuses.count('reused')} reused"
    console.print(f"\n{counts}, in {result.seconds:.0f} s.", highlight=False)
    evaluated = [each for each in result.stages.values() if each.stage.name == "evaluate" and each.artifact]
    # Of a run: an evaluation alone prints its own, longer table.
    if evaluated and any(each.stage.name == "train" for each in result.stages.values()):
        console.print()
        console.print(_scores_table([Scores.read(each.path) for each in evaluated]))
    for stage, error in result.failed.items():
        print_text(console, f"FAILED {stage}: {error}", "red")
    for stage, because in result.skipped.items():
        if because != result.limit:
            print_text(console, f"not tried: {stage}, it waits for {because}")
    if result.limit:
        open_stages = ", ".join(stage for stage, because in result.skipped.items() if because == result.limit)
        print_text(console, f"Stopped: {result.limit}. Left: {open_stages or 'nothing'}.", "yellow")
        print_text(console, "Everything up to the last commit is safe: the same command, with a new limit, goes on.")
    print_warnings(_warnings(result), console)
    console.print()
    for each in result.stages.values():
        if each.stage.name == "export" and each.artifact:
            print_text(console, f"Export: {each.path / MODEL}")
    report = result.stages.get("report")
    if report and report.artifact:
        print_text(console, f"Report: {report.path / 'report.html'}")
    print_text(console, f"MLflow: arctic ui --store {shlex.quote(_shortest(result.store))}")


def _warnings(result: RunResult) -> list[tuple[str, str]]:
    """Of every stage that has a result, whichever run built it."""
    return [
        (stage, message)
        for stage, each in result.stages.items()
        if each.artifact
        for message in each.artifact.manifest.provenance.get("warnings", ())
    ]


def _scores_table(evaluations: Sequence[Scores]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("after phase", no_wrap=True)
    for scores in evaluations:
        table.add_column(scores.phase, justify="right", no_wrap=True)
    table.add_row("tokens seen", *(f"{scores.tokens:,}" for scores in evaluations))
    for name in evaluations[0].scores:
        cells = [score_text(scores.scores[name].value) for scores in evaluations]
        table.add_row(name.replace("_", " ").replace("/", ", "), *cells)
    return table


def _shortest(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
