"""`arctic prune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.terminal.console import WaitLines, plain_table, print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder
from pipelines.cli.terminal.units import bytes_text

if TYPE_CHECKING:
    from infra.housekeeping.prune import More, Pruning
    from infra.store import Store

RUNNING = {
    "running": "is running",
    "open": "may be running on another machine; --forget it if that machine is gone",
}


def command(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(help="Recipes or locks whose results stay, besides those of runs.", show_default=False),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    last: Annotated[
        int | None, typer.Option(min=0, help="Keep the results of this many runs of each name. Default: of all runs.")
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="Do not keep the results of this run.")
    ] = None,
    optimizer_states: Annotated[
        bool,
        typer.Option(
            "--optimizer-states",
            help="Also the optimizer states of phases whose next phase is trained, and of fine-tunes. Their weights "
            "stay. To train that next phase again, the phase before must be trained again first.",
        ),
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", "--yes", help="Remove the listed results.")] = False,
) -> None:
    """List results that no run or recipe uses, work of dead attempts and unused content, and remove them with --apply.
    Results that a run uses now stay."""
    from infra.housekeeping.prune import find_garbage, no_more_garbage, prune
    from infra.housekeeping.roots import results_of
    from pipelines.lineage.stages import require_store
    from pipelines.recipes import load_recipe

    console = standard_output()
    opened = require_store(store)
    needed: set[str] = set()
    for recipe in recipes or []:
        needed |= results_of(list(load_recipe(recipe).graph().stages.values()))
    more = _optimizer_states(opened) if optimizer_states else no_more_garbage
    if not apply:
        _print(find_garbage(opened, needed, last=last, forget=forget or [], more=more))
        print_text(console, "Nothing is removed yet: add --apply.")
        return
    _print(prune(opened.open(), needed, last=last, forget=forget or [], more=more, waiting=WaitLines()))


def _optimizer_states(store: "Store") -> "More":
    from pipelines.errors import OptionError
    from pipelines.lineage.optimizer_states import ended_optimizer_states

    if store.remote:
        raise OptionError("--optimizer-states: results in object storage are removed whole only. Leave it out.")
    return ended_optimizer_states


def _print(pruning: "Pruning") -> None:
    console = standard_output()
    table = plain_table("kind", "name", "size", left=("kind", "name"))
    for each in pruning.garbage:
        table.add_row(each.kind, each.name, bytes_text(each.bytes))
    console.print(table)
    for run in pruning.kept_runs:
        if run.may_resume:
            print_text(console, f"kept: the results of {run.run_id}, which {RUNNING[run.state]}")
    parts, runs = len(pruning.garbage), len(pruning.kept_runs)
    print_text(console, f"{parts} parts, {bytes_text(pruning.bytes)}; {runs} runs keep their results.")
