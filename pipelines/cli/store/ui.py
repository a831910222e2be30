"""`arctic ui`."""

from typing import Annotated

import typer

from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder


def command(
    store: StoreFolder = DEFAULT_STORE,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on this machine's loopback interface.")] = 5000,
) -> None:
    """Open MLflow on this store: serve on loopback until Ctrl-C and print the link to the runs."""
    from infra.tracking import serve
    from pipelines.lineage.stages import require_store

    serve(require_store(store).root, port)
