"""`arctic import-run`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import WaitLines, print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder


def command(
    archive: Annotated[Path, typer.Argument(help="Archive that arctic export-run wrote.")],
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Take a run from an archive: each result is committed after its digests are checked."""
    from infra.housekeeping.archive import import_run
    from infra.store import Store

    with Store(store).writing() as opened:
        imported = import_run(opened, archive, WaitLines())
    present = f", {len(imported.present)} were there before" if imported.present else ""
    print_text(standard_output(), f"{imported.run_id}: {len(imported.committed)} results committed{present}")
