"""`arctic verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder

if TYPE_CHECKING:
    from infra.artifact import Artifact


def command(
    stage: Annotated[
        str | None, typer.Argument(help="Id, name or key of the results to verify. Default: all.", show_default=False)
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove damaged results, so that the next run builds them again.")
    ] = False,
) -> None:
    """Hash every committed file and compare it with its manifest; exit with code 1 if damage is left."""
    from pipelines.lineage.stages import find_stage, require_store

    console = standard_output()
    opened = require_store(store)
    artifacts = list(opened.artifacts())
    damaged = 0
    for artifact in find_stage(artifacts, stage, store) if stage else artifacts:
        paths = opened.damaged(artifact)
        print_text(console, _line(artifact, paths))
        damaged += bool(paths)
        if paths and drop:
            opened.drop(artifact, paths)
    outcome = "removed; the next run builds them again" if drop else "left; arctic verify --drop removes them"
    print_text(console, f"{damaged} damaged results {outcome}." if damaged else "No damage.")
    raise typer.Exit(1 if damaged and not drop else 0)


def _line(artifact: "Artifact", damaged: list[str]) -> str:
    manifest = artifact.manifest
    if not damaged:
        return f"ok      {manifest.id} {manifest.key}: {len(manifest.files)} files, {manifest.bytes:,} bytes"
    more = f", and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    return f"DAMAGED {manifest.id} {manifest.key}: {', '.join(damaged[:3])}{more}"
