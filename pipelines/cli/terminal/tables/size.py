"""The estimate of `arctic size` as tables."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from arctic_model.sizing.flops import count_parameters
from pipelines.cli.terminal.console import plain_table, print_text
from pipelines.sizing import SizeEstimate

if TYPE_CHECKING:
    from arctic_model.roofline.ceiling import Roofline


def print_size(size: SizeEstimate, console: Console) -> None:
    """Print memory by part, traffic, step time, throughput, days and cost, and whether it fits."""
    print_text(console, _heading(size))
    tables = [
        *_parts_table(size),
        _memory_table(size),
        _host_table(size.memory.checkpoint_copy),
        _traffic_table(size),
        _time_table(size),
    ]
    for table in [*tables, _rate_table(size), *_bill_table(size), _evaluation_table(size)]:
        console.print(table)
        console.print()
    print_text(console, _verdict(size))
    print_text(console, _evaluation_verdict(size))


def print_rooflines(rooflines: "Mapping[str, Roofline]", gpu: str, console: Console) -> None:
    """Print the kernels of a pass on `gpu` by part, and the ceiling of every GPU."""
    chosen = rooflines[gpu]
    parts = plain_table(f"kernels of a pass, {chosen.tokens:,} tokens", "kernels", "TFLOP", "GB", "products", "others")
    rows = [(f"layer {name}, {count} of them", layer) for name, (count, layer) in chosen.layers.items()]
    for name, part in [*rows, ("embedding, norm, head and losses", chosen.ends)]:
        figures = (f"{part.flops / 1e12:.2f}", f"{part.num_bytes / 1e9:.2f}")
        seconds = (f"{1000 * each:.2f} ms" for each in (part.products_s, part.others_s))
        parts.add_row(name, str(part.num_kernels), *figures, *seconds)
    ceilings = plain_table("share of the peak at best", "MFU", "tokens/s")
    for name, each in rooflines.items():
        ceilings.add_row(name, f"{each.mfu:.1%}", f"{each.tokens / each.seconds:,.0f}")
    for table in (parts, ceilings):
        console.print()
        console.print(table)


def _heading(size: SizeEstimate) -> str:
    parallel = size.parallel
    count = count_parameters(size.sizing.config)
    policy = parallel.activation_checkpointing
    checkpointing = "" if policy == "none" else f", {policy} checkpointing"
    shared = parallel.context_parallel_size
    context, readers = (f", context-parallel over {shared}", f"groups of {shared} GPUs") if shared > 1 else ("", "GPUs")
    return (
        f"{size.sizing.name}: {count.total:,} parameters, {count.active:,} active\n"
        f"{parallel.num_workers:,} x {size.gpu_name}, expert-parallel over {parallel.expert_parallel_size}{context}, "
        f"ZeRO-{parallel.zero_stage}, {parallel.dtype}, {parallel.optimizer}{checkpointing}\n"
        f"a step: {parallel.tokens_per_step:,} tokens = {parallel.num_workers // shared:,} {readers} x "
        f"{parallel.num_micro_batches:,} passes x {parallel.micro_batch_sequences:,} sequences x "
        f"{parallel.sequence_length:,}\n"
    )


def _memory_table(size: SizeEstimate) -> Table:
    memory = size.memory
    table = plain_table("memory per GPU", "")
    for part, value in asdict(memory.states).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("states, through the whole step", _bytes(memory.states.total), style="bold")
    for part, value in asdict(memory.working).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("most at one moment, states with it", _bytes(memory.total), style="bold")
    for part, value in asdict(memory.reserve).items():
        table.add_row(f"reserve: {_words(part)}", _bytes(value))
    table.add_row("needed, reserve included", _bytes(memory.total + memory.reserve.total), style="bold")
    table.add_row("margin left", _bytes(size.gpu.memory_bytes - memory.total - memory.reserve.total))
    return table


def _host_table(checkpoint_copy: int) -> Table:
    table = plain_table("memory of the machine, per GPU", "")
    table.add_row("copy that a checkpoint is written from", _bytes(checkpoint_copy))
    return table


def _traffic_table(size: SizeEstimate) -> Table:
    table = plain_table("sent per step and GPU", "")
    for part, value in asdict(size.traffic).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("all", _bytes(size.traffic.total), style="bold")
    return table


def _time_table(size: SizeEstimate) -> Table:
    step, layer = size.step, size.windows
    table = plain_table("step", "", "share")
    for part in (field.name for field in fields(step) if field.name.endswith("_s")):
        seconds = getattr(step, part)
        table.add_row(_words(part.removesuffix("_s")), _seconds(seconds), f"{seconds / step.total_s:.1%}")
    table.add_row("all", _seconds(step.total_s), "100.0%", style="bold")
    for field, window in zip(fields(layer), layer.all, strict=True):
        exchange, behind = _seconds(window.exchange_s), _seconds(window.compute_s)
        table.add_row(f"  {_words(field.name)}, a layer: {exchange} behind {behind}", "", "")
    table.add_row("exchanges hidden", "", f"{layer.hidden_share:.1%}")
    return table


def _rate_table(size: SizeEstimate) -> Table:
    step, parallel = size.step, size.parallel
    table = plain_table("throughput", "")
    table.add_row("tokens/s, all GPUs", f"{step.tokens_per_s:,.0f}")
    table.add_row("tokens/s and GPU", f"{step.tokens_per_s / parallel.num_workers:,.0f}")
    table.add_row(f"MFU, of {size.gpu.peak_flops(parallel.dtype) / 1e12:,.0f} TFLOP/s", f"{step.mfu:.1%}")
    return table


def _parts_table(size: SizeEstimate) -> list[Table]:
    """One table, or none for a run of one part."""
    if len(size.parts) < 2:
        return []
    table = plain_table("parts of the run", "sequence", "tokens", "needed per GPU", "tokens/s", "days")
    for part in size.parts:
        figures = (f"{part.sequence_length:,}", f"{part.tokens:,}", _bytes(part.memory_bytes))
        table.add_row(", ".join(part.phases), *figures, f"{part.tokens_per_s:,.0f}", f"{part.bill.days:,.1f}")
    return [table]


def _bill_table(size: SizeEstimate) -> list[Table]:
    """One table, or none for a preset, which has no tokens."""
    if size.bill is None:
        return []
    table = plain_table(f"the run: {size.tokens:,} tokens", "")
    table.add_row("days", f"{size.bill.days:,.1f}")
    table.add_row("GPU-hours", f"{size.bill.gpu_hours:,.0f}")
    table.add_row(f"cost at ${size.price_per_hour:.2f} an hour", f"${size.bill.cost:,.0f}")
    return [table]


def _evaluation_table(size: SizeEstimate) -> Table:
    evaluation = size.evaluation
    table = plain_table(f"evaluation, per GPU of {evaluation.expert_parallel_size} that share the experts", "")
    for part, value in asdict(evaluation.memory).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("all, in bfloat16", _bytes(evaluation.memory.total), style="bold")
    return table


def _evaluation_verdict(size: SizeEstimate) -> str:
    """Whether the evaluation fits, and if it does not, how many GPUs hold the model."""
    evaluation = size.evaluation
    need = f"{_bytes(evaluation.memory.total)} of {_bytes(size.gpu.memory_bytes)}"
    if evaluation.fits:
        return f"Evaluation fits: {need}."
    if evaluation.fewest is None:
        return f"EVALUATION DOES NOT FIT: {need}, nor with more GPUs: each repeats the dense part. Use a larger GPU."
    return f"EVALUATION DOES NOT FIT: {need}. Set evaluate.expert_parallel_size = {evaluation.fewest}."


def _verdict(size: SizeEstimate) -> str:
    """Whether it fits and by what margin, or else the settings to lower."""
    parallel, gpu, memory = size.parallel, size.gpu, size.memory
    need = f"{_bytes(memory.total)} and a reserve of {_bytes(memory.reserve.total)} of {_bytes(gpu.memory_bytes)}"
    if size.fits:
        return f"Fits: {need}."
    if memory.states.total + memory.reserve.total > gpu.memory_bytes:
        remedy = "The states alone are too large: raise --ep or --gpus, or zero_stage to 2."
    else:
        remedy = "Lower --micro-batch or raise --ep." if parallel.micro_batch_sequences > 1 else "Raise --ep or --gpus."
        for policy, smaller in size.memory_with.items():
            remedy += f" With {policy} checkpointing: {_bytes(smaller)}."
    return f"DOES NOT FIT: {need}. {remedy}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.2f} GB" if abs(number) >= 1e8 else f"{number / 1e6:,.2f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3f} s" if seconds >= 1 else f"{seconds * 1e3:,.2f} ms"
