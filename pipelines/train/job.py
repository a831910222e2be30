"""The work of a phase as every worker gets it: plain data and paths. No torch here, and no recipe."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.sizing.parallel import ParallelConfig, num_passes
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.spikes import SpikePolicy, norm_conditions
from infra.resources import Demand
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan

FP8_CAPABILITIES = {(9, 0)}
"""Compute capabilities on which torch has `_scaled_grouped_mm` for e4m3 with a scale per row."""


@dataclass(frozen=True)
class WorkerGroup:
    """The processes that train, and the resources of each. `fewer`: numbers of workers, ascending, with which training
    goes on while the cluster has no room for `num_workers`."""

    num_workers: int = 1
    fewer: tuple[int, ...] = ()
    expert_parallel_size: int = 1
    context_parallel_size: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    threads_per_worker: int = 1
    collective_timeout_s: float = 600.0
    nccl_max_ctas: int = 0

    @property
    def counts(self) -> tuple[int, ...]:
        """All numbers of workers that the group may have, ascending."""
        return *self.fewer, self.num_workers

    def demand(self, count: int) -> Demand:
        """The resources of `count` workers."""
        return Demand(count, self.cpus_per_worker, self.gpus_per_worker)

    @property
    def backend(self) -> str:
        """Backend of the workers' collectives."""
        return "nccl" if self.gpus_per_worker else "gloo"


@dataclass(frozen=True)
class CheckpointPolicy:
    """When a checkpoint is written, and which stay."""

    every_steps: int = 100
    keep_last: int = 2
    keep_best: int = 0
    keep_every: int = 0
    keep_weights_every: int = 0


@dataclass(frozen=True)
class Segment:
    """Steps `first_step + 1` to `last_step` of a phase, which share all settings.

    Steps and tokens count from the run's first phase. `first_position`: position in the order `mix` of the first
    sequence that these steps read.
    """

    first_step: int
    last_step: int
    first_tokens: int
    global_batch_sequences: int
    micro_batch_sequences: int
    optimization: Optimization
    schedule: Schedule
    spikes: SpikePolicy
    mix: Path
    first_position: int = 0

    def num_passes(self, num_workers: int, context_parallel_size: int) -> int:
        """Passes of a worker per step."""
        batch = self.global_batch_sequences, self.micro_batch_sequences
        return num_passes(*batch, num_workers, context_parallel_size)

    def position(self, step: int) -> int:
        """Position in the order of the first sequence of the step after `step`."""
        return self.first_position + (step - self.first_step) * self.global_batch_sequences


@dataclass(frozen=True)
class TrainJob:
    """One phase, or a fine-tune.

    `segments` follow each other; `tokens` is the folder of each corpus' packed sequences, `folder` survives attempts,
    `start_from` is the checkpoint before the first step; without one, training starts from the weights in
    `weights_from`, with their optimizer state if `with_optimizer`, or from drawn ones. `can_be_amended`: whether the
    recipe's amendments reach it; `peak_tflops` of one worker, None for the GPU's data sheet; `price_per_worker_hour`:
    None for no cost; `profile_steps`: first and last step of a trace, as "10:13".
    """

    config: ArcticConfig
    group: WorkerGroup
    checkpoints: CheckpointPolicy
    segments: tuple[Segment, ...]
    sequence_length: int
    tokens: Mapping[str, Path]
    folder: Path
    start_from: Path | None = None
    weights_from: Path | None = None
    with_optimizer: bool = False
    can_be_amended: bool = True
    peak_tflops: float | None = None
    price_per_worker_hour: float | None = None
    profile_steps: str = ""

    @property
    def first_step(self) -> int:
        """The last step of the phase before."""
        return self.segments[0].first_step

    @property
    def last_step(self) -> int:
        """The last step of the phase."""
        return self.segments[-1].last_step

    @property
    def num_tokens(self) -> int:
        """Tokens of the phase."""
        return self.tokens_at(self.last_step) - self.segments[0].first_tokens

    def tokens_at(self, step: int) -> int:
        """Tokens that are read up to the end of `step`."""
        segment = self.segment(step)
        sequences = (step - segment.first_step) * segment.global_batch_sequences
        return segment.first_tokens + sequences * self.sequence_length

    def segment(self, step: int) -> Segment:
        """The segment of `step`, or the first one for a step before it."""
        return next((each for each in self.segments if step <= each.last_step), self.segments[-1])

    def after(self, step: int) -> Segment:
        """The segment that goes on after `step`."""
        return self.segment(step + 1)

    def norm_conditions(self, segment: Segment) -> dict[str, Any]:
        """See `arctic_model.training.spikes.norm_conditions`."""
        tokens_per_step = segment.global_batch_sequences * self.sequence_length
        return norm_conditions(self.config, segment.optimization, self.sequence_length, tokens_per_step)

    @property
    def trains_pairs(self) -> bool:
        """Whether the objective is one of pairs of answers."""
        return self.segments[0].optimization.tuning.dpo is not None

    @property
    def failure(self) -> Path:
        """File with an error that a restart would not fix."""
        return self.folder / "failure.json"

    @property
    def regroup(self) -> Path:
        """File that asks the workers to make room, with a checkpoint, for a larger group."""
        return self.folder / "regroup"


def parallel_config(job: TrainJob, segment: Segment, num_workers: int) -> ParallelConfig:
    """The work of a segment on `num_workers` workers, as `arctic_model.sizing` counts it. Raises ConfigError."""
    settings, context = segment.optimization, job.group.context_parallel_size
    return ParallelConfig(
        num_workers=num_workers,
        expert_parallel_size=job.group.expert_parallel_size,
        sequence_length=job.sequence_length,
        micro_batch_sequences=segment.micro_batch_sequences,
        num_micro_batches=segment.num_passes(num_workers, context),
        engine=settings.engine,
        zero_stage=settings.zero_stage,
        shard_group_size=settings.shard_group_size,
        dtype=settings.dtype,
        gradient_dtype=settings.gradient_dtype,
        fp8=settings.fp8,
        optimizer=settings.optimizer,
        activation_checkpointing=settings.activation_checkpointing,
        context_parallel_size=context,
    )


class TokenCounts:
    """The tokens read from each corpus up to a step, since the run's first phase."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._plans = {segment.mix: PhasePlan.read(segment.mix) for segment in job.segments}

    def added_to(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A step's record with its `tokens_by_corpus`."""
        segment = self._job.segment(record["step"])
        plan = self._plans[segment.mix]
        read = plan.taken(segment.position(record["step"]))
        return {**record, "tokens_by_corpus": {corpus: count * plan.sequence_length for corpus, count in read.items()}}


def require_gpus(job: TrainJob) -> None:
    """Check that torch sees the GPUs that a worker is to have, and that they multiply as the job asks. Raises
    ValueError with the remedy."""
    if not job.group.gpus_per_worker:
        return
    import torch

    if not torch.cuda.is_available():
        raise ValueError(
            f"train.gpus_per_worker = {job.group.gpus_per_worker:g}, but torch {torch.__version__} sees no GPU on "
            f"{socket.gethostname()}. Set gpus_per_worker to 0, or install the driver and torch's build for CUDA."
        )
    capability = torch.cuda.get_device_capability()
    if any(segment.optimization.fp8 for segment in job.segments) and capability not in FP8_CAPABILITIES:
        raise ValueError(
            f"train.fp8 = true, but {torch.cuda.get_device_name()} on {socket.gethostname()} has compute capability "
            f"{'.'.join(map(str, capability))}: torch multiplies the rows of experts in FP8 on 9.0 (H100, H200) only. "
            "Set fp8 to false, or train on such GPUs."
        )
