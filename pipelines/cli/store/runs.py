"""`arctic runs`."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.terminal.console import plain_table, print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder
from pipelines.cli.terminal.units import duration_text

if TYPE_CHECKING:
    from pipelines.lineage.runs import RunRecord

STYLES = {"finished": "green", "failed": "red", "killed": "yellow", "running": "cyan"}


def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN RUN]", help="Two runs to compare. Default: list all.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """List the runs of a store, or compare two: the differences of their recipes, and their results."""
    from pipelines.errors import OptionError
    from pipelines.lineage.runs import find_run, read_runs

    console = standard_output()
    runs = read_runs(store)
    if not names:
        _print_list(runs, console)
        return
    if len(names) != 2:
        raise OptionError(f"arctic runs {' '.join(names)}: name two runs to compare, or none to list all.")
    _print_comparison([find_run(runs, name, store) for name in names], store, console)


def _print_list(runs: "Sequence[RunRecord]", console: Console) -> None:
    table = plain_table("run", "started", "status", "time", "built", "of stages", left=("run", "started", "status"))
    for run in reversed(runs):
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
        seconds = "" if run.seconds is None else duration_text(run.seconds)
        status = f"[{STYLES[run.status]}]{run.status}[/]"
        table.add_row(escape(run.run_id), started, status, seconds, str(run.num_built), str(len(run.keys)))
    console.print(table)
    print_text(
        console, f"\n{len(runs)} runs. Compare two: arctic runs RUN RUN, or on a page: arctic report RUN --against RUN"
    )


def _print_comparison(runs: "Sequence[RunRecord]", store: str, console: Console) -> None:
    from pipelines.run_report import compared_results, recipe_changes

    before, after = runs
    changes = recipe_changes(before, after)
    table = plain_table("field", before.run_id, after.run_id, left=("field", before.run_id, after.run_id))
    for row in changes:
        table.add_row(*map(escape, row))
    if changes:
        console.print(table)
    else:
        print_text(console, "The recipes are equal in every field.")
    results = plain_table("result", before.run_id, after.run_id, left=("result",))
    for name, values in compared_results(before, after, store).items():
        results.add_row(escape(name), *("" if value is None else f"{value:.4g}" for value in values))
    console.print()
    console.print(results)
