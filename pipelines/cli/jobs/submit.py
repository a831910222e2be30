"""`arctic submit`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.terminal.options import (
    DEFAULT_STORE,
    Dashboard,
    MaxCost,
    MaxHours,
    Only,
    Overrides,
    Recipe,
    Until,
)

if TYPE_CHECKING:
    from infra.cluster.jobs import Answer, Ask


class Interrupt(StrEnum):
    """Effect of Ctrl-C on a job that is followed."""

    ASK = "ask"
    STOP = "stop"
    DETACH = "detach"


def command(
    recipe: Recipe,
    address: Dashboard,
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="ARCTIC_STORE",
            help="Folder that every node of the cluster reaches, or an address such as s3://bucket/prefix.",
        ),
    ] = DEFAULT_STORE,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    python: Annotated[
        str | None,
        typer.Option(help="Python on the cluster. Default: this one if the head is on this machine, else python."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the job goes on.")] = False,
    on_interrupt: Annotated[
        Interrupt, typer.Option(help="Effect of Ctrl-C on the job. Without a terminal, ask means stop.")
    ] = Interrupt.ASK,
) -> None:
    """Send the same run to a Ray cluster as a job and follow its log. The exit code is the job's."""
    from data_recipes.files import needed_files
    from infra.cluster.jobs import NewJob, submit
    from infra.host.provenance import git_state
    from infra.session import new_run_id
    from pipelines.recipes import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    loaded.require_fit()
    arguments = ["run", _relative(recipe), "--store", _location(store), "--address", "auto"]
    for override in overrides or []:
        arguments += ["--set", override]
    arguments += ["--until", until] if until else []
    arguments += ["--only", only] if only else []
    arguments += ["--max-hours", f"{max_hours:g}"] if max_hours is not None else []
    arguments += ["--max-cost", f"{max_cost:g}"] if max_cost is not None else []
    git = git_state() or {}
    job = NewJob(
        name=new_run_id(loaded.page.name),
        arguments=["-m", "pipelines.cli", *arguments],
        working_dir=Path.cwd(),
        needed=needed_files(recipe, overrides or [], Path.cwd()),
        python=python,
        metadata={
            "recipe": _relative(recipe),
            "store": _location(store),
            "commit": f"{git.get('commit', 'unknown')}{' with changes' if git.get('dirty') else ''}",
        },
    )
    raise typer.Exit(submit(address, job, detach=detach, ask=asking(on_interrupt)))


def asking(on_interrupt: Interrupt) -> "Ask":
    """The answer to Ctrl-C: fixed, or asked for at the terminal."""

    def ask(name: str) -> "Answer":
        if on_interrupt is Interrupt.DETACH:
            return "detach"
        if on_interrupt is Interrupt.STOP or not sys.stdin.isatty():
            return "stop"
        print(f"\n{name} is still running. [s]top it, [d]etach and let it go on, or [f]ollow it further?", flush=True)
        answers: dict[str, Answer] = {"s": "stop", "d": "detach", "f": "follow"}
        while True:
            typed = input("s, d or f: ").strip().lower()[:1]
            if typed in answers:
                return answers[typed]

    return ask


def _location(store: str) -> str:
    """An address as it is, a folder by its whole path."""
    return store if "://" in store else str(Path(store).resolve())


def _relative(recipe: Path) -> str:
    """The recipe inside the working folder, which travels with a job."""
    from pipelines.errors import OptionError

    inside = recipe.resolve()
    if not inside.is_relative_to(Path.cwd()):
        raise OptionError(
            f"{recipe}: not inside {Path.cwd()}, the folder sent with the job. Run submit from its folder."
        )
    return inside.relative_to(Path.cwd()).as_posix()
