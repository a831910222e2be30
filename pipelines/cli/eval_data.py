"""`arctic eval-data`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output

app = typer.Typer(help="Fetch the data that evaluation tasks read.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `fetch` a command of its own name: typer drops the name of a single command."""


@app.command()
def fetch(
    files: Annotated[list[str] | None, typer.Argument(help="Files of the data root. Default: all.")] = None,
    root: Annotated[Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Folder that the files are written to.")] = Path(
        "eval_data"
    ),
) -> None:
    """Fetch evaluation data from its public sources and check each file against its pinned hash."""
    from pipelines.evaluate.data.fetch import fetch_known

    console = standard_output()
    for file in fetch_known(files or [], root, lambda line: print_text(console, line)):
        print_text(console, f"{file.file}: bring it by hand: {file.origin} ({file.licence})")
