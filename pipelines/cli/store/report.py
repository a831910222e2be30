"""`arctic report`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder


def command(
    run: Annotated[
        str, typer.Argument(help="Run as `arctic runs` lists it, or the end of its name. Default: the newest.")
    ] = "",
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Another run of the store to compare it with.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("report.html"),
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Write the offline page of a run, next to another one with --against: recipes, curves, paired differences."""
    from pipelines.run_report import write_report

    print_text(standard_output(), f"Report: {write_report(store, run, against, out)}")
