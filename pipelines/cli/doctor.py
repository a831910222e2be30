"""`arctic doctor`."""

from pathlib import Path

import typer

from pipelines.cli.terminal.console import standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, Address, StoreFolder


def command(store: StoreFolder = DEFAULT_STORE, address: Address = None) -> None:
    """Check this machine, the store and the cluster's safety; exit with code 1 if something needs mending."""
    from infra.doctor.checks import checks
    from infra.doctor.environment import Upload
    from pipelines.submission import measured_upload

    console = standard_output()
    results = checks(store, address, Upload(*measured_upload(Path.cwd())))
    for check in results:
        mark = "[green]ok  [/]" if check.ok else "[red]BAD [/]"
        console.print(f"{mark} {check.name}: ", end="")
        message = check.message if check.ok else f"{check.message.rstrip('.')}. {check.remedy}".rstrip()
        console.print(message, markup=False, highlight=False)
    raise typer.Exit(0 if all(check.ok for check in results) else 1)
