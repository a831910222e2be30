"""`arctic eval-data`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.terminal.console import plain_table, print_text, standard_output

app = typer.Typer(help="Fetch the data that evaluation tasks read.", no_args_is_help=True)


Root = Annotated[Path, typer.Option(envvar="ARCTIC_EVAL_DATA", help="Folder of the evaluation data.")]


@app.command("list")
def list_files(root: Root = Path("eval_data")) -> None:
    """List all files with their state, number of rows and licence."""
    from pipelines.evaluate.data.files import data_files, state_of

    table = plain_table("file", "state", "rows", "licence", left=("file", "state", "licence"))
    for file in data_files().values():
        table.add_row(escape(file.file), state_of(root, file), f"{file.rows:,}", escape(file.licence))
    standard_output().print(table)


@app.command()
def fetch(
    files: Annotated[list[str] | None, typer.Argument(help="Files of the data root. Default: all.")] = None,
    root: Root = Path("eval_data"),
) -> None:
    """Fetch evaluation data from its public sources and check each file against its pinned hash."""
    from pipelines.evaluate.data.fetch import fetch_known

    console = standard_output()
    for file in fetch_known(files or [], root, lambda line: print_text(console, line)):
        print_text(console, f"{file.file}: bring it by hand: {file.origin} ({file.licence})")
