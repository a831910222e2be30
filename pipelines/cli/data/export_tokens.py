"""`arctic export-tokens`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder


def command(
    corpus: Annotated[str, typer.Argument(help="Name of a corpus, or the key of one of its tokenize results.")],
    out: Annotated[Path, typer.Argument(help="Path of the files to write, without a suffix.")],
    form: Annotated[str, typer.Option("--format", help="Format: megatron, datatrove, olmo or npy.")] = "megatron",
    split: Annotated[str, typer.Option(help="Split: train or heldout.")] = "train",
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Write the tokens of a corpus in the format that another trainer reads."""
    from infra.store import Store
    from pipelines.tokenize.export import export_corpus

    console = standard_output()
    written = export_corpus(Store(store), corpus, out, form, split)
    print_text(console, f"{written.documents:,} documents, {written.tokens:,} tokens:")
    for file in written.files:
        print_text(console, str(file))
