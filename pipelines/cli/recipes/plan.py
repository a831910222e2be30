"""`arctic plan`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Only, Overrides, Recipe, StoreFolder, Until
from pipelines.cli.terminal.units import bytes_text, duration_text
from pipelines.cli.terminal.warnings import print_warnings

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
    """Show the stages that a run would reuse or build, and why, or the data that its phases would read. Starts
    nothing."""
    from pipelines import session
    from pipelines.recipes import load_recipe

    console = standard_output()
    loaded = load_recipe(recipe, overrides or [])
    if mix:
        from pipelines.cli.terminal.tables.mixture import print_mix

        print_mix(session.simulate(loaded, store, assume or []), console)
        return
    plan = session.plan(loaded, store, until=until, only=only)
    console.print(plan_table(plan.stages, plan.price))
    building = len(plan.to_build)
    console.print(f"\n{len(plan.stages)} stages: {len(plan.stages) - building} to reuse, {building} to build.")
    if estimate := estimate_text(plan.stages, plan.price):
        print_text(console, estimate)
    for line in plan.missing_packages:
        print_text(console, f"MISSING PACKAGE {line}", "yellow")
    if plan.missing_data:
        print_text(console, f"MISSING DATA {plan.missing_data}", "yellow")
    print_warnings(plan.warnings, console)


def plan_table(planned: "Sequence[PlannedStage]", price: float | None = None) -> Table:
    """The plan of a run, stage by stage, with reasons; and time, size and, with a `price` of a worker-hour, cost of the
    stages to build, if earlier results allow an estimate."""
    estimated = any(each.expected_s is not None for each in planned)
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "action", "key"):
        table.add_column(title, no_wrap=True)
    has_cost = price is not None
    titles = ["time", "size", *(["cost"] if has_cost else [])]
    for title in titles if estimated else ():
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("why")
    for each in planned:
        style = "dim" if each.action == "reuse" else "bold"
        estimates = _estimates(each, price)[: len(titles)] if estimated else []
        table.add_row(
            escape(each.stage.id), f"[{style}]{each.action}[/]", each.stage.key, *estimates, escape(each.reason)
        )
    return table


def estimate_text(planned: "Sequence[PlannedStage]", price: float | None = None) -> str:
    """Time, size and, with a `price` of a worker-hour, cost of the stages to build; empty if no result allows an
    estimate.
    """
    building = [each for each in planned if each.action == "build"]
    estimated = [each for each in building if each.expected_s is not None]
    if not estimated:
        return ""
    seconds = sum(each.expected_s or 0.0 for each in estimated)
    size = sum(each.expected_bytes or 0 for each in estimated)
    hours = sum(_worker_hours(each) for each in estimated)
    cost = f", and {hours * price:,.2f} for {hours:.3g} worker-hours" if price else ""
    unknown = len(building) - len(estimated)
    without = f" Nothing is known of {unknown} that this store never built." if unknown else ""
    return (
        f"The newest results of {'these' if not unknown else f'{len(estimated)} of these'} stages took "
        f"{duration_text(seconds)} of work and {bytes_text(size)}{cost}.{without}"
    )


def _estimates(planned: "PlannedStage", price: float | None) -> list[str]:
    if planned.expected_s is None or planned.expected_bytes is None:
        return ["", "", ""]
    cost = "" if price is None else f"{_worker_hours(planned) * price:,.2f}"
    return [duration_text(planned.expected_s), bytes_text(planned.expected_bytes), cost]


def _worker_hours(planned: "PlannedStage") -> float:
    """Of all workers of a training. Any other stage counts as one worker for as long as it takes: a machine of that
    price has to be there meanwhile."""
    counted = planned.expected_worker_hours
    return (planned.expected_s or 0.0) / 3600 if counted is None else counted
