"""`arctic train-quality`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_text, standard_output
from pipelines.cli.terminal.options import DEFAULT_STORE, StoreFolder


def command(
    good: Annotated[
        str,
        typer.Argument(
            help="Corpus of high-quality documents, or those of a corpus with a label: web:education.score>=4."
        ),
    ],
    bad: Annotated[str, typer.Argument(help="Corpus of low-quality documents, or web:education.score<=1.")],
    out: Annotated[Path, typer.Argument(help="File for the model (.safetensors).")],
    max_documents: Annotated[int, typer.Option(help="Maximum number of documents per corpus.")] = 20_000,
    store: StoreFolder = DEFAULT_STORE,
) -> None:
    """Train a quality model for [score] on the kept documents of two corpora in the store, or on the labels that a
    model gave the documents of one."""
    from infra.store import Store
    from pipelines.score.quality.corpora import train_on_corpora

    report = train_on_corpora(Store(store), good, bad, out, max_documents)
    print_text(
        standard_output(),
        f"{report.num_good:,} documents of {good} against {report.num_bad:,} of {bad}: {report.heldout_accuracy:.1%} "
        f"of {report.num_heldout:,} held-out documents classified correctly.\n"
        f'Name it in a recipe: [score] quality_model = "{out}"',
    )
