"""`arctic run`."""

import re
from typing import Annotated

import typer

from pipelines.cli.terminal.console import standard_output
from pipelines.cli.terminal.options import (
    DEFAULT_STORE,
    Address,
    MaxCost,
    MaxHours,
    Only,
    Overrides,
    Recipe,
    StoreFolder,
    Until,
)

LIMIT_REACHED = 3
"""Exit code of a run that a limit ended and that nothing else failed in."""


def command(
    recipe: Recipe,
    store: StoreFolder = DEFAULT_STORE,
    address: Address = None,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    register: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Make the last model a version of this registered model of MLflow."),
    ] = "",
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="steps=FIRST:LAST", help="Write a profiler trace of these training steps: steps=10:13"),
    ] = None,
) -> None:
    """Run a recipe. Run it again to continue an interrupted run; committed results are reused."""
    from pipelines.cli.terminal.live.view import view
    from pipelines.cli.terminal.summary import print_summary
    from pipelines.recipes import load_recipe
    from pipelines.session import run

    console = standard_output()
    loaded = load_recipe(recipe, [*(overrides or []), *profiling(profile)])
    with view(console) as on_event:
        result = run(
            loaded,
            store,
            address,
            on_event,
            until=until,
            only=only,
            register=registered_name(register),
            max_hours=max_hours,
            max_cost=max_cost,
        )
    print_summary(result, console)
    raise typer.Exit(0 if result.ok else LIMIT_REACHED if result.limit and not result.failed else 1)


def registered_name(name: str) -> str:
    """A name that MLflow takes for a registered model, and that needs no quoting. Raises OptionError."""
    from pipelines.errors import OptionError

    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise OptionError(f"--register {name}: use letters, digits, dots, dashes and underscores, such as code-model")
    return name


def profiling(steps: str | None) -> list[str]:
    """The override that `--profile` means; the field it sets is in no stage's key. Raises OptionError."""
    from pipelines.errors import OptionError

    if steps is None:
        return []
    if not re.fullmatch(r"steps=\d+:\d+", steps):
        raise OptionError(f"--profile {steps}: give the first and the last step, such as steps=10:13")
    return [f'train.profile_steps="{steps.removeprefix("steps=")}"']
