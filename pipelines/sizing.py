"""Estimate the needs of a run on a number of GPUs, before you rent one.

Example:
    >>> from pipelines.sizing import SizeOptions, estimate
    >>> size = estimate("arctic-480b", SizeOptions(gpu="h100"))
    >>> size.parallel.num_workers, size.fits, round(size.step.mfu, 2)
    (2048, True, 0.19)
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from arctic_model.config import ArcticConfig
from arctic_model.presets import PRESETS
from arctic_model.sizing.adapters import adapter_memory, adapter_step_time, adapter_traffic
from arctic_model.sizing.evaluation import EvaluationMemory, evaluation_memory, fewest_processes
from arctic_model.sizing.memory import Memory, memory_per_worker
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.step_time import (
    GPUS,
    Bill,
    Gpu,
    StepTime,
    Traffic,
    Windows,
    bill,
    step_time,
    traffic,
    windows,
)
from arctic_model.training.optimization.settings import Lora
from data_recipes import RecipeError, RunRecipe
from data_recipes.explain import did_you_mean
from data_recipes.sections.training import TrainSection
from pipelines.errors import OptionError
from pipelines.evaluate.engine.execution import answers_at_once
from pipelines.finetune.stage import tuning_of
from pipelines.fit.configs import phase_config
from pipelines.recipes import load_recipe
from pipelines.train.from_recipe import parallel_config

if TYPE_CHECKING:
    from arctic_model.roofline.ceiling import Roofline

LESS_KEPT: Mapping[str, tuple[Literal["selective", "layer"], ...]] = {
    "none": ("selective", "layer"),
    "selective": ("layer",),
    "layer": (),
}
"""By activation checkpointing, the policies that keep less."""
MOST_GPUS = 65_536
"""The largest number of GPUs that a preset is tried on."""


@dataclass(frozen=True)
class SizeOptions:
    """Numbers to estimate with instead of the recipe's; None keeps the recipe's, and the price of
    `arctic_model.sizing.step_time.GPUS`."""

    gpu: str = "h100"
    num_gpus: int | None = None
    expert_parallel_size: int | None = None
    micro_batch_sequences: int | None = None
    mfu: float = 0.4
    """Share of the GPU's peak that computation reaches while it runs."""
    price_per_hour: float | None = None
    checkpoint_layers: bool = False
    finetune: str = ""
    """Fine-tune to size: its name in the recipe; of a preset "full", "lora" or "lora-fp8". "" sizes pretraining."""
    phase: str = ""
    """Phase of the recipe to size; "" sizes the one that needs the most memory."""

    def overrides(self) -> list[str]:
        """In the syntax of `--set`, so that the recipe's own checks apply."""
        numbers = {
            "num_workers": self.num_gpus,
            "expert_parallel_size": self.expert_parallel_size,
            "micro_batch_sequences": self.micro_batch_sequences,
        }
        checkpointing = ['train.activation_checkpointing="layer"'] if self.checkpoint_layers else []
        return [f"train.{name}={value}" for name, value in numbers.items() if value is not None] + checkpointing


@dataclass(frozen=True)
class Sizing:
    """The model to size and its parallel config; `tokens` that are trained like this, None for a preset that no recipe
    trains. `name` names the phases too if they differ; `evaluated_by`: processes that share the experts in evaluation,
    None for the fewest that hold them; `phases`: of the recipe that are trained like this."""

    name: str
    config: ArcticConfig
    parallel: ParallelConfig
    tokens: int | None
    evaluated_by: int | None = None
    lora: Lora | None = None
    """Adapters that are trained instead of the weights."""
    phases: tuple[str, ...] = ()

    @property
    def memory(self) -> Memory:
        """Bytes of one worker by part."""
        if self.lora:
            return adapter_memory(self.config, self.parallel, self.lora)
        return memory_per_worker(self.config, self.parallel)

    @property
    def traffic(self) -> Traffic:
        """Bytes that one worker sends per step."""
        if self.lora:
            return adapter_traffic(self.config, self.parallel, self.lora)
        return traffic(self.config, self.parallel)

    def step(self, gpu: Gpu, mfu: float) -> StepTime:
        """Seconds of one step by part. Raises ValueError."""
        if self.lora:
            return adapter_step_time(self.config, self.parallel, self.lora, gpu, mfu)
        return step_time(self.config, self.parallel, gpu, mfu)


@dataclass(frozen=True)
class EvaluationEstimate:
    """Memory of each of the `expert_parallel_size` GPUs that share the experts of one copy, in bfloat16 with the cache
    of all answers that it writes side by side; and the fewest GPUs that hold such a copy, None if no number does."""

    expert_parallel_size: int
    memory: EvaluationMemory
    fewest: int | None

    @property
    def fits(self) -> bool:
        """Whether these GPUs are enough."""
        return self.fewest is not None and self.expert_parallel_size >= self.fewest


@dataclass(frozen=True)
class PartEstimate:
    """A part of a run that is trained in one way: its `phases`, its tokens and their sequences, the bytes that a worker
    needs with its reserve, tokens/s of all workers, and the bill."""

    phases: tuple[str, ...]
    tokens: int
    sequence_length: int
    memory_bytes: int
    tokens_per_s: float
    bill: Bill


@dataclass(frozen=True)
class SizeEstimate:
    """The estimate for one model on one number of GPUs.

    Attributes:
        sizing: The model and its parallel config; of the phase that was asked for, or else of the one that needs the
            most memory.
        gpu_name: Name of the GPU in `GPUS`.
        memory: Bytes of one worker by part.
        traffic: Bytes that one worker sends per step.
        step: Seconds of one step by part.
        windows: Seconds of each exchange of a layer, and of the computation that hides it.
        price_per_hour: Price per GPU-hour in USD.
        parts: The parts of the run, one after the other; none of a preset, which has no tokens.
        memory_with: Bytes of one worker with activation-checkpointing policies that keep less, by policy.
        evaluation: Memory and GPUs for evaluating the model.
    """

    sizing: Sizing
    gpu_name: str
    memory: Memory
    traffic: Traffic
    step: StepTime
    windows: Windows
    price_per_hour: float
    parts: Sequence[PartEstimate]
    memory_with: Mapping[str, int]
    evaluation: "EvaluationEstimate"

    @property
    def tokens(self) -> int:
        """Of all parts."""
        return sum(part.tokens for part in self.parts)

    @property
    def bill(self) -> Bill | None:
        """Days, GPU-hours and cost of all parts; None for a preset."""
        columns = zip(*(astuple(part.bill) for part in self.parts), strict=True)
        return Bill(*map(sum, columns)) if self.parts else None

    @property
    def gpu(self) -> Gpu:
        """The GPU's figures."""
        return GPUS[self.gpu_name]

    @property
    def parallel(self) -> ParallelConfig:
        """How the training is divided over workers."""
        return self.sizing.parallel

    @property
    def fits(self) -> bool:
        """Whether a worker, with its reserve, fits in the GPU's memory."""
        return self.memory.fits(self.gpu.memory_bytes)


def estimate(target: Path | str, options: SizeOptions | None = None, overrides: Sequence[str] = ()) -> SizeEstimate:
    """Estimate memory, traffic, step time, days and cost of the run recipe at `target`, or of the preset of that name.

    Raises OptionError for an unknown GPU, RecipeError if the recipe cannot work.
    """
    options = options or SizeOptions()
    if options.gpu not in GPUS:
        raise OptionError(f"--gpu {options.gpu!r}: no such GPU. There are {', '.join(GPUS)}.")
    if str(target) in PRESETS:
        parts = [_of_preset(str(target), overrides, options)]
    else:
        parts = _of_recipe(Path(target), overrides, options)
    try:
        return _estimate(parts, options)
    except ValueError as error:
        raise RecipeError(f"{target}: {error}") from None


def rooflines(size: SizeEstimate) -> "Mapping[str, Roofline]":
    """By GPU, the share of the peak that a training pass of this model reaches at best: from its kernels, which are
    traced without a GPU. Bfloat16, all experts on one GPU, full sequences."""
    from arctic_model.roofline.ceiling import roofline

    sizing = size.sizing
    config = replace(sizing.config, max_positions=sizing.parallel.sequence_length)
    num_sequences = sizing.parallel.micro_batch_sequences
    return {name: roofline(config, gpu, num_sequences) for name, gpu in GPUS.items()}


def _estimate(parts: Sequence[Sizing], options: SizeOptions) -> SizeEstimate:
    """The estimate of the part that needs the most memory, or has the phase of the options, with the bill of all."""
    sizing = max(_of_phase(parts, options.phase), key=lambda part: part.memory.total)
    config, parallel, gpu = sizing.config, sizing.parallel, GPUS[options.gpu]
    price = gpu.price_per_hour if options.price_per_hour is None else options.price_per_hour
    return SizeEstimate(
        sizing=sizing,
        gpu_name=options.gpu,
        memory=sizing.memory,
        traffic=sizing.traffic,
        step=sizing.step(gpu, options.mfu),
        windows=windows(config, parallel, gpu, options.mfu),
        price_per_hour=price,
        parts=[_part(each, gpu, options.mfu, price) for each in parts if each.tokens is not None],
        memory_with={
            policy: replace(sizing, parallel=replace(parallel, activation_checkpointing=policy)).memory.total
            for policy in LESS_KEPT[parallel.activation_checkpointing]
        },
        evaluation=_evaluation(sizing, gpu),
    )


def _evaluation(sizing: Sizing, gpu: Gpu) -> EvaluationEstimate:
    # One more sequence: the beginning that the questions of a task share.
    num_sequences = answers_at_once(sizing.config.max_positions) + 1
    fewest = fewest_processes(sizing.config, num_sequences, gpu.memory_bytes)
    size = sizing.evaluated_by or fewest or max(sizing.config.num_experts, 1)
    return EvaluationEstimate(size, evaluation_memory(sizing.config, size, num_sequences), fewest)


def _of_phase(parts: Sequence[Sizing], phase: str) -> Sequence[Sizing]:
    """The parts that train a phase; all if it is ""."""
    of_phase = [part for part in parts if not phase or phase in part.phases]
    if not of_phase:
        names = dict.fromkeys(name for part in parts for name in part.phases)
        hint = did_you_mean(phase, names) or f"There are {', '.join(names) or 'none'}."
        raise OptionError(f"--phase {phase!r}: the recipe has no such phase. {hint}")
    return of_phase


def _part(sizing: Sizing, gpu: Gpu, mfu: float, price: float) -> PartEstimate:
    assert sizing.tokens is not None
    parallel, memory, speed = sizing.parallel, sizing.memory, sizing.step(gpu, mfu).tokens_per_s
    cost = bill(sizing.tokens, speed, parallel.num_workers, price)
    needed = memory.total + memory.reserve.total
    return PartEstimate(sizing.phases, sizing.tokens, parallel.sequence_length, needed, speed, cost)


def _of_recipe(recipe: Path, overrides: Sequence[str], options: SizeOptions) -> list[Sizing]:
    """A part for each parallel config and architecture that a phase or an amendment brings."""
    run = run_to_size(recipe, [*overrides, *options.overrides()])
    if options.finetune:
        return [_of_finetune(run, options.finetune)]
    if not run.phases:
        raise OptionError("the recipe has no phases. Name the fine-tune to size with --finetune.")
    tokens: dict[tuple[ArcticConfig, ParallelConfig], int] = {}
    phases: dict[tuple[ArcticConfig, ParallelConfig], dict[str, None]] = {}
    for number, (phase, segments) in enumerate(zip(run.phases, run.segments, strict=True), start=1):
        length = run.sequence_lengths[number - 1]
        for segment in segments:
            part = phase_config(run, number), parallel_config(segment.train, length)
            tokens[part] = tokens.get(part, 0) + segment.tokens(length)
            phases.setdefault(part, {})[phase.name] = None
    evaluated_by = run.evaluate.expert_parallel_size
    return [
        Sizing(_name(run, names if len(tokens) > 1 else ()), *part, tokens[part], evaluated_by, phases=tuple(names))
        for part, names in phases.items()
    ]


def _name(run: RunRecipe, phases: Collection[str]) -> str:
    """The preset, with the phases if there are any to tell apart."""
    plural = "s" if len(phases) > 1 else ""
    return f"{run.model.preset}, phase{plural} {', '.join(phases)}" if phases else run.model.preset


def _of_finetune(run: RunRecipe, name: str) -> Sizing:
    """The fine-tune of that name; its tokens if it gives them."""
    names = [section.name for section in run.finetune]
    if name not in names:
        hint = did_you_mean(name, names) or f"There are {', '.join(names) or 'none'}."
        raise OptionError(f"--finetune {name!r}: the recipe has no such fine-tune. {hint}")
    section = run.finetune[names.index(name)]
    parallel = parallel_config(section.train_section(run.train), run.tokenize.sequence_length)
    config = phase_config(run, len(run.phases))
    # Their number decides; the ids are known once there is a tokenizer.
    lora = tuning_of(section, range(len(section.trained_tokens))).lora
    return Sizing(f"{run.model.preset}, fine-tune {name}", config, parallel, section.tokens, lora=lora)


def run_to_size(recipe: Path, overrides: Sequence[str]) -> RunRecipe:
    """The run recipe at `recipe`. Raises RecipeError if it is none, or cannot work."""
    if not recipe.suffix and not recipe.exists():
        raise RecipeError(f"{recipe}: no such recipe or preset. The presets are {', '.join(PRESETS)}.")
    loaded = load_recipe(recipe, overrides)
    if not isinstance(loaded.page, RunRecipe):
        raise RecipeError(f"{recipe}: a corpus recipe has no model to size. Name a run recipe.")
    loaded.require_fit()
    return loaded.page


def preset_to_size(name: str, overrides: Sequence[str]) -> ArcticConfig:
    """The preset of that name. Raises RecipeError if fields of it are to be replaced."""
    if overrides:
        raise RecipeError(
            f"--set {overrides[0]}: {name} is a preset, not a recipe. Name a run recipe to change fields."
        )
    return PRESETS[name]


def _of_preset(name: str, overrides: Sequence[str], options: SizeOptions) -> Sizing:
    """The preset trained in bfloat16 at ZeRO-2, on as many GPUs as `options` names, else on the fewest that hold it."""
    config = preset_to_size(name, overrides)
    try:
        lora = _preset_lora(options.finetune)
        label = f"{name}, fine-tune {options.finetune}" if options.finetune else name
        return Sizing(label, config, _preset_parallel_config(config, lora, options), None, lora=lora)
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None


def _preset_lora(finetune: str) -> Lora | None:
    """The default adapters if a preset is sized with adapters."""
    if finetune not in ("", "full", "lora", "lora-fp8"):
        raise OptionError(f"--finetune {finetune!r}: of a preset, one of full, lora and lora-fp8. Choose one.")
    return Lora(quantize_base=finetune == "lora-fp8") if finetune.startswith("lora") else None


def _preset_parallel_config(config: ArcticConfig, lora: Lora | None, options: SizeOptions) -> ParallelConfig:
    numbers = [2**power for power in range(MOST_GPUS.bit_length())] if options.num_gpus is None else [options.num_gpus]
    for num_gpus in numbers:
        parallel = ParallelConfig(
            num_workers=num_gpus,
            expert_parallel_size=options.expert_parallel_size or math.gcd(num_gpus, config.num_experts),
            sequence_length=config.max_positions,
            micro_batch_sequences=options.micro_batch_sequences or 1,
            optimizer="adamw" if lora else TrainSection.model_fields["optimizer"].default,
            activation_checkpointing="layer" if options.checkpoint_layers else "none",
        )
        if Sizing("", config, parallel, None, lora=lora).memory.fits(GPUS[options.gpu].memory_bytes):
            break
    return parallel
