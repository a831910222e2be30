"""`arctic init`."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.terminal.console import plain_table, print_text, standard_output
from pipelines.cli.terminal.units import bytes_text, count_text

if TYPE_CHECKING:
    from pipelines.draft import Draft


def command(
    data: Annotated[
        list[Path], typer.Argument(help="Files or folders: WARC, JSON Lines, Parquet, text or HTML files, code, chats.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the recipes.")] = Path("recipes"),
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: that of the first folder.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="Number of GPUs to train on; 0 trains on the CPUs.")] = 0,
) -> None:
    """Draft recipes for your own files: corpora with suitable limits, and a run that fits data and machine."""
    from pipelines.draft import draft

    drafted = draft(data, out, name, num_gpus=gpus)
    drafted.write()
    print_draft(drafted, standard_output())


def print_draft(drafted: "Draft", console: Console) -> None:
    """Print the files that were read and those that were not, and the next steps."""
    table = plain_table("corpus", "kind", "files", "size", "documents", "text", left=("corpus", "kind"))
    for corpus in drafted.corpora:
        group, sampled = corpus.group, corpus.sample
        sizes = (
            bytes_text(group.num_bytes),
            f"~{count_text(sampled.num_documents)}",
            f"~{bytes_text(sampled.text_bytes)}",
        )
        table.add_row(escape(corpus.name), group.kind, f"{len(group.files):,}", *sizes)
    console.print(table)
    for group_name, reason in drafted.left_out.items():
        print_text(console, f"NOT READ {group_name}: {reason}", "yellow")
    if drafted.unread:
        endings = ", ".join(f"{count:,} {ending}" for ending, count in sorted(drafted.unread.items()))
        print_text(console, f"NOT READ, of no known kind: {endings}", "yellow")
    run = drafted.run
    tokens = f"{count_text(run.tokens)} tokens in {len(run.phases)} phase{'s'[: len(run.phases) > 1]}"
    print_text(console, f"\nWrote {', '.join(drafted.texts)} to {drafted.folder}: {run.model.preset}, {tokens}.")
    recipe = shlex.quote(os.path.relpath(drafted.run_file))
    print_text(console, f"Next: arctic plan {recipe}\n      arctic run {recipe}")
