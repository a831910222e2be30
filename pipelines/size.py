"""`arctic size`: what a run would need on a number of GPUs, before one is rented."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from arctic_model.config import ArcticConfig
from arctic_model.presets import PRESETS
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.memory import Host, Memory, memory_per_worker
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.step_time import GPUS, Gpu, bill, step_time, traffic, windows
from data_recipes import RecipeError, RunRecipe
from data_recipes.training import TrainSection
from pipelines.fit import model_config, run_parallel_config
from pipelines.recipes import load_recipe

LESS_KEPT: Mapping[str, tuple[Literal["selective", "layer"], ...]] = {
    "none": ("selective", "layer"),
    "selective": ("layer",),
    "layer": (),
}
"""By activation checkpointing, the policies that keep less."""
MOST_GPUS = 65_536
"""The largest number of GPUs that a preset is tried on."""


@dataclass(frozen=True)
class Order:
    """What `arctic size` is asked for beside the recipe; None leaves what the recipe says, and for the price what
    `arctic_model.sizing.step_time.GPUS` assumes."""

    gpu: str = "h100"
    num_gpus: int | None = None
    expert_parallel_size: int | None = None
    micro_batch_sequences: int | None = None
    mfu: float = 0.4
    """Share of the peak that computation reaches while it runs."""
    price_per_hour: float | None = None
    checkpoint_layers: bool = False

    def overrides(self) -> list[str]:
        """As `--set` would say it, so that the recipe's own checks apply."""
        numbers = {
            "num_workers": self.num_gpus,
            "expert_parallel_size": self.expert_parallel_size,
            "micro_batch_sequences": self.micro_batch_sequences,
        }
        checkpointing = ['train.activation_checkpointing="layer"'] if self.checkpoint_layers else []
        return [f"train.{name}={value}" for name, value in numbers.items() if value is not None] + checkpointing


@dataclass(frozen=True)
class Sizing:
    """The model to size and its parallel config; `tokens` of the whole run, None for a preset that no recipe trains."""

    name: str
    config: ArcticConfig
    parallel: ParallelConfig
    tokens: int | None


def print_size(target: Path, overrides: Sequence[str], order: Order, terminal: Console) -> None:
    """Memory by part, traffic, step time, days and cost of the run recipe at `target`, or of the preset of that name.

    Raises RecipeError.
    """
    if order.gpu not in GPUS:
        raise RecipeError(f"--gpu {order.gpu!r}: no such GPU. There are {', '.join(GPUS)}.")
    sizing = (
        _of_preset(str(target), overrides, order) if str(target) in PRESETS else _of_recipe(target, overrides, order)
    )
    try:
        tables = list(_tables(sizing, order))
    except ValueError as error:
        raise RecipeError(f"{target}: {error}") from None
    _print(terminal, _heading(sizing, order))
    for table in tables:
        terminal.print(table)
        terminal.print()
    _print(terminal, _verdict(sizing, order))


def _of_recipe(recipe: Path, overrides: Sequence[str], order: Order) -> Sizing:
    if not recipe.suffix and not recipe.exists():
        raise RecipeError(f"{recipe}: no such recipe or preset. The presets are {', '.join(PRESETS)}.")
    replaced = [*overrides, *order.overrides()]
    loaded = load_recipe(recipe, replaced)
    run = loaded.page
    if not isinstance(run, RunRecipe):
        raise RecipeError(f"{recipe}: a corpus recipe has no model to size. Name a run recipe.")
    loaded.require_fit()
    return Sizing(run.model.preset, model_config(run), run_parallel_config(run), run.tokens)


def _of_preset(name: str, overrides: Sequence[str], order: Order) -> Sizing:
    """The preset trained in bfloat16 at ZeRO-2, on as many GPUs as `order` names, else on the fewest that hold it."""
    if overrides:
        raise RecipeError(
            f"--set {overrides[0]}: {name} is a preset, not a recipe. Name a run recipe to change fields."
        )
    config = PRESETS[name]
    try:
        return Sizing(name, config, _preset_parallel_config(config, order), None)
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None


def _preset_parallel_config(config: ArcticConfig, order: Order) -> ParallelConfig:
    numbers = [2**power for power in range(MOST_GPUS.bit_length())] if order.num_gpus is None else [order.num_gpus]
    for num_gpus in numbers:
        parallel = ParallelConfig(
            num_workers=num_gpus,
            expert_parallel_size=order.expert_parallel_size or math.gcd(num_gpus, config.num_experts),
            sequence_length=config.max_positions,
            micro_batch_sequences=order.micro_batch_sequences or 1,
            optimizer=TrainSection.model_fields["optimizer"].default,
            activation_checkpointing="layer" if order.checkpoint_layers else "none",
        )
        if memory_per_worker(config, parallel).fits(GPUS[order.gpu].memory_bytes):
            break
    return parallel


def _heading(sizing: Sizing, order: Order) -> str:
    config, parallel = sizing.config, sizing.parallel
    count = count_parameters(config)
    policy = parallel.activation_checkpointing
    checkpointing = "" if policy == "none" else f", {policy} checkpointing"
    return (
        f"{sizing.name}: {count.total:,} parameters, {count.active:,} active\n"
        f"{parallel.num_workers:,} x {order.gpu}, expert-parallel over {parallel.expert_parallel_size}, ZeRO-"
        f"{parallel.zero_stage}, {parallel.dtype}, {parallel.optimizer}{checkpointing}\n"
        f"a step: {parallel.tokens_per_step:,} tokens = {parallel.num_workers:,} GPUs x {parallel.num_micro_batches:,} "
        f"passes x {parallel.micro_batch_sequences:,} sequences x {parallel.sequence_length:,}\n"
    )


def _tables(sizing: Sizing, order: Order) -> Iterable[Table]:
    config, parallel = sizing.config, sizing.parallel
    gpu = GPUS[order.gpu]
    memory = memory_per_worker(config, parallel)
    yield _memory_table(memory, gpu)
    yield _host_table(memory.host)
    yield _traffic_table(config, parallel)
    yield _time_table(config, parallel, gpu, order.mfu)
    yield _rate_table(sizing, gpu, order)
    if sizing.tokens is not None:
        yield _bill_table(sizing, sizing.tokens, gpu, order)


def _memory_table(memory: Memory, gpu: Gpu) -> Table:
    table = _table("memory per GPU", "")
    for part, value in asdict(memory.states).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("states, through the whole step", _bytes(memory.states.total), style="bold")
    for part, value in asdict(memory.working).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("most at one moment, states with it", _bytes(memory.total), style="bold")
    for part, value in asdict(memory.reserve).items():
        table.add_row(f"reserve: {_words(part)}", _bytes(value))
    table.add_row("needed, reserve included", _bytes(memory.total + memory.reserve.total), style="bold")
    table.add_row("margin left", _bytes(gpu.memory_bytes - memory.total - memory.reserve.total))
    return table


def _host_table(host: Host) -> Table:
    table = _table("memory of the machine, per GPU", "")
    table.add_row("weights in float32 while the model is made", _bytes(host.first_weights))
    table.add_row("copy that a checkpoint is written from", _bytes(host.checkpoint_copy))
    table.add_row("most at one moment", _bytes(host.peak), style="bold")
    return table


def _traffic_table(config: ArcticConfig, parallel: ParallelConfig) -> Table:
    sent = traffic(config, parallel)
    table = _table("sent per step and GPU", "")
    for part, value in asdict(sent).items():
        table.add_row(_words(part), _bytes(value))
    table.add_row("all", _bytes(sent.total), style="bold")
    return table


def _time_table(config: ArcticConfig, parallel: ParallelConfig, gpu: Gpu, mfu: float) -> Table:
    step = step_time(config, parallel, gpu, mfu)
    layer = windows(config, parallel, gpu, mfu)
    table = _table("step", "", "share")
    for part in (field.name for field in fields(step) if field.name.endswith("_s")):
        seconds = getattr(step, part)
        table.add_row(_words(part.removesuffix("_s")), _seconds(seconds), f"{seconds / step.total_s:.1%}")
    table.add_row("all", _seconds(step.total_s), "100.0%", style="bold")
    for field, window in zip(fields(layer), layer.all, strict=True):
        exchange, behind = _seconds(window.exchange_s), _seconds(window.compute_s)
        table.add_row(f"  {_words(field.name)}, a layer: {exchange} behind {behind}", "", "")
    table.add_row("exchanges hidden", "", f"{layer.hidden_share:.1%}")
    return table


def _rate_table(sizing: Sizing, gpu: Gpu, order: Order) -> Table:
    step = step_time(sizing.config, sizing.parallel, gpu, order.mfu)
    table = _table("throughput", "")
    table.add_row("tokens/s, all GPUs", f"{step.tokens_per_s:,.0f}")
    table.add_row("tokens/s and GPU", f"{step.tokens_per_s / sizing.parallel.num_workers:,.0f}")
    table.add_row(f"MFU, of {gpu.peak_flops(sizing.parallel.dtype) / 1e12:,.0f} TFLOP/s", f"{step.mfu:.1%}")
    return table


def _bill_table(sizing: Sizing, tokens: int, gpu: Gpu, order: Order) -> Table:
    rate = step_time(sizing.config, sizing.parallel, gpu, order.mfu).tokens_per_s
    price = gpu.price_per_hour if order.price_per_hour is None else order.price_per_hour
    total = bill(tokens, rate, sizing.parallel.num_workers, price)
    table = _table(f"the run: {tokens:,} tokens", "")
    table.add_row("days", f"{total.days:,.1f}")
    table.add_row("GPU-hours", f"{total.gpu_hours:,.0f}")
    table.add_row(f"cost at ${price:.2f} an hour", f"${total.cost:,.0f}")
    return table


def _verdict(sizing: Sizing, order: Order) -> str:
    """Whether it fits, by what margin, and if it does not, what to lower."""
    config, parallel, gpu = sizing.config, sizing.parallel, GPUS[order.gpu]
    memory = memory_per_worker(config, parallel)
    need = f"{_bytes(memory.total)} and a reserve of {_bytes(memory.reserve.total)} of {_bytes(gpu.memory_bytes)}"
    if memory.fits(gpu.memory_bytes):
        return f"Fits: {need}."
    if memory.states.total + memory.reserve.total > gpu.memory_bytes:
        mend = "The states alone are too large: raise --ep or --gpus, or zero_stage to 2."
    else:
        mend = "Lower --micro-batch or raise --ep." if parallel.micro_batch_sequences > 1 else "Raise --ep or --gpus."
        for policy in LESS_KEPT[parallel.activation_checkpointing]:
            smaller = memory_per_worker(config, replace(parallel, activation_checkpointing=policy))
            mend += f" With {policy} checkpointing: {_bytes(smaller.total)}."
    return f"DOES NOT FIT: {need}. {mend}"


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    return table


def _print(terminal: Console, text: str) -> None:
    terminal.print(text, markup=False, highlight=False, soft_wrap=True)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.2f} GB" if abs(number) >= 1e8 else f"{number / 1e6:,.2f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3f} s" if seconds >= 1 else f"{seconds * 1e3:,.2f} ms"
