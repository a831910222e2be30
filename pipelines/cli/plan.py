"""`arctic plan`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Only, Overrides, Recipe, StoreFolder, Until

if TYPE_CHECKING:
    from infra.plan import PlannedStage


def command(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    mix: Annotated[bool, typer.Option("--mix", help="Simulate the curriculum of a run instead.")] = False,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="CORPUS=TOKENS", help="With --mix: size of a corpus that is not built, such as web=2e12."),
    ] = None,
) -> None:
    """Show what a run would reuse or build, and why, or what its phases would read. Starts nothing."""
    from pipelines import session
    from pipelines.recipes import load_recipe

    console = standard_output()
    loaded = load_recipe(recipe, overrides or [])
    if mix:
        from pipelines.cli.terminal.mixture import print_mix

        print_mix(session.simulate(loaded, store, assume or []), console)
        return
    plan = session.plan(loaded, store, until=until, only=only)
    console.print(plan_table(plan.stages))
    building = len(plan.to_build)
    console.print(f"\n{len(plan.stages)} stages: {len(plan.stages) - building} to reuse, {building} to build.")
    for line in plan.missing_packages:
        print_text(console, f"MISSING PACKAGE {line}", "yellow")


def plan_table(planned: "Sequence[PlannedStage]") -> Table:
    """What a run would do, stage by stage, and why."""
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "action", "key", "why"):
        table.add_column(title, no_wrap=title != "why")
    for each in planned:
        style = "dim" if each.action == "reuse" else "bold"
        table.add_row(escape(each.stage.id), f"[{style}]{each.action}[/]", each.stage.key, escape(each.reason))
    return table
