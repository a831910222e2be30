"""`arctic export`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal.console import print_fields, standard_output


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint, or a train stage's result.")],
    to: Annotated[str, typer.Option(help="Format: huggingface, gguf or fp8.")],
    out: Annotated[Path, typer.Option(help="Folder to write. It must not exist.")],
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Data type of the weights: float32 (default) or bfloat16 for huggingface; float16 (default), float32 "
            "or q8_0 for gguf; float8_e4m3 for fp8."
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of CHECKPOINT's tokenizer. Default: its own, or the one it was trained with."),
    ] = None,
) -> None:
    """Write a checkpoint in the format of other engines, and compare their outputs with the model's."""
    from pipelines.export.folder import export_to_folder
    from pipelines.graph.checkpoints import resolve_checkpoint

    console = standard_output()
    resolved = resolve_checkpoint(checkpoint)
    folder = resolved.folder
    agreement = export_to_folder(folder, tokenizer or resolved.tokenizer or folder, out, to, dtype)
    print_fields(
        console,
        {
            "written": out,
            "loaded back by": agreement.engine,
            "largest difference of logits": f"{agreement.max_difference:.2g}",
            "equal likeliest tokens": f"{agreement.argmax_share:.2%} of {agreement.tokens}",
            "mean KL": f"{agreement.mean_kl:.2g} nats per token",
            "bits per byte, model and engine": f"{agreement.bits_per_byte:.4f}, {agreement.engine_bits_per_byte:.4f}",
        },
    )
