"""`arctic submit`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.options import DEFAULT_STORE, Only, Overrides, Recipe, Until


def command(
    recipe: Recipe,
    address: Annotated[str, typer.Option(help="Dashboard of the Ray head, such as http://127.0.0.1:8265.")],
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
    python: Annotated[
        str | None,
        typer.Option(help="Python on the cluster. Default: this one if the head is on this machine, else python."),
    ] = None,
) -> None:
    """Send the same run to a Ray cluster as a job and follow its log. The exit code is the job's."""
    from data_recipes.files import needed_files
    from infra.cluster.jobs import submit
    from pipelines.recipes import load_recipe

    load_recipe(recipe, overrides or []).require_fit()
    arguments = ["run", _relative(recipe), "--store", _location(store), "--address", "auto"]
    for override in overrides or []:
        arguments += ["--set", override]
    arguments += ["--until", until] if until else []
    arguments += ["--only", only] if only else []
    needed = needed_files(recipe, overrides or [], Path.cwd())
    raise typer.Exit(submit(address, ["-m", "pipelines.cli", *arguments], Path.cwd(), needed=needed, python=python))


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
