"""The estimate of `arctic size --inference` as tables."""

from rich.console import Console

from arctic_model.sizing.flops import count_parameters
from pipelines.cli.terminal.console import plain_table, print_text
from pipelines.inference_sizing import InferenceEstimate

BATCHES = (1, 8, 32, 128)


def print_inference(size: InferenceEstimate, console: Console) -> None:
    """Print memory, tokens per second by batch, and whether it fits."""
    inference, options = size.inference, size.options
    counts = count_parameters(inference.config)
    print_text(
        console,
        f"{size.name}: {counts.total:,} parameters, {counts.active:,} active\n"
        f"{inference.num_gpus} x {options.gpu}, every layer shared by all, weights in {inference.dtype}, sequences of "
        f"{inference.context:,} tokens\n",
    )
    memory = plain_table("memory, all GPUs", "")
    memory.add_row("weights", _gigabytes(inference.weight_bytes))
    memory.add_row("keys and values of a token", f"{inference.cache_bytes_per_token:,} bytes")
    memory.add_row("room for keys and values", _gigabytes(inference.cache_room_bytes))
    memory.add_row("sequences at a time", f"{inference.max_sequences:,}")
    console.print(memory)
    console.print()
    speed = plain_table("answers side by side", "ms a step", "tokens/s", "of each", "ceiling", "$ a million")
    for batch in BATCHES:
        step = inference.step_s(batch, options.mfu)
        rates = [f"{value:,.0f}" for value in (batch / step, 1 / step, inference.ceiling(batch))]
        speed.add_row(f"{batch}", f"{step * 1e3:,.2f}", *rates, f"{size.price_per_million(batch):,.2f}")
    console.print(speed)
    print_text(console, f"\nprompts: {inference.prompt_tokens_per_s(options.mfu):,.0f} tokens/s\n")
    print_text(console, _verdict(size))


def _verdict(size: InferenceEstimate) -> str:
    inference = size.inference
    if inference.max_sequences:
        return f"Fits: {inference.max_sequences:,} sequences of {inference.context:,} tokens beside the weights."
    remedy = "Raise --gpus, choose a larger --gpu, " + ("" if inference.dtype == "fp8" else "--weights fp8, ")
    return f"DOES NOT FIT: the weights leave {_gigabytes(inference.cache_room_bytes)}. {remedy}or shorten --context."


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:,.2f} GB"
