"""`arctic export-run`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder
from pipelines.cli.terminal.units import bytes_text


def command(
    run: Annotated[str, typer.Argument(help="Id of the run, as the folders below runs/ of the store have it.")],
    out: Annotated[Path, typer.Option("--out", help="Archive to write, such as run.tar.")],
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Write a run with its results, lock and event log to one archive, which arctic import-run takes."""
    from infra.housekeeping.archive import export_run
    from pipelines.lineage.stages import require_store

    console = standard_output()
    exported = export_run(require_store(store), run, out)
    print_text(console, f"{out}: {len(exported.results)} results, {bytes_text(exported.bytes)}")
    if exported.missing:
        print_text(console, f"not in the store, so not in the archive: {', '.join(exported.missing)}", "yellow")
