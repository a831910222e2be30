"""`arctic size`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.terminal.console import standard_output
from pipelines.cli.terminal.options import Overrides


def command(
    recipe: Annotated[Path, typer.Argument(help="Run recipe (.toml), or a preset such as arctic-480b.")],
    gpu: Annotated[str, typer.Option(help="GPU model: a100, h100, h200, b200 or l40s.")] = "h100",
    gpus: Annotated[int | None, typer.Option(help="Number of workers, one GPU each. Default: the recipe's.")] = None,
    ep: Annotated[int | None, typer.Option(help="Expert-parallel size. Default: the recipe's.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Sequences per worker and forward pass. Default: the recipe's.")
    ] = None,
    mfu: Annotated[float, typer.Option(help="Share of the GPU's peak that computation reaches, in (0, 1].")] = 0.4,
    price: Annotated[float | None, typer.Option(min=0.0, help="Price per GPU-hour in USD.")] = None,
    checkpoint_layers: Annotated[
        bool, typer.Option("--checkpoint-layers", help="Keep only each layer's input and recompute the layer.")
    ] = False,
    phase: Annotated[
        str, typer.Option(help="Phase of the recipe to size. Default: the one that needs the most memory.")
    ] = "",
    finetune: Annotated[
        str, typer.Option(help="Fine-tune to size: its name in the recipe; of a preset full, lora or lora-fp8.")
    ] = "",
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Add the share of each GPU's peak that the kernels reach at best.")
    ] = False,
    inference: Annotated[bool, typer.Option("--inference", help="Estimate decoding instead of training.")] = False,
    weights: Annotated[
        Literal["bfloat16", "fp8"], typer.Option(help="With --inference: data type of the weights.")
    ] = "bfloat16",
    context: Annotated[
        int | None, typer.Option(help="With --inference: tokens of a sequence. Default: the model's positions.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Estimate the needs of a run: memory per GPU by part, traffic, step time, days and cost. Starts nothing."""
    if inference:
        numbers = {"--ep": ep, "--micro-batch": micro_batch}
        switches = {"--checkpoint-layers": checkpoint_layers, "--roofline": roofline}
        _refuse({**numbers, **switches, "--finetune": finetune, "--phase": phase}, "training")
        _print_inference(recipe, gpu, gpus, weights, context, mfu, price, overrides)
        return
    _refuse({"--weights": weights != "bfloat16", "--context": context}, "--inference")
    from pipelines.cli.terminal.tables.size import print_rooflines, print_size
    from pipelines.sizing import SizeOptions, estimate, rooflines

    options = SizeOptions(gpu, gpus, ep, micro_batch, mfu, price, checkpoint_layers, finetune, phase)
    size, console = estimate(recipe, options, overrides or []), standard_output()
    print_size(size, console)
    if roofline:
        print_rooflines(rooflines(size), gpu, console)


def _refuse(options: dict[str, object], belong_to: str) -> None:
    from pipelines.errors import OptionError

    for name, value in options.items():
        if value:
            raise OptionError(f"{name}: an option of {belong_to} only. Leave it out.")


def _print_inference(
    recipe: Path,
    gpu: str,
    gpus: int | None,
    weights: Literal["bfloat16", "fp8"],
    context: int | None,
    mfu: float,
    price: float | None,
    overrides: list[str] | None,
) -> None:
    from pipelines.cli.terminal.tables.inference_size import print_inference
    from pipelines.inference_sizing import InferenceOptions, estimate_inference

    options = InferenceOptions(gpu, 1 if gpus is None else gpus, weights, context, mfu, price)
    print_inference(estimate_inference(recipe, options, overrides or []), standard_output())
