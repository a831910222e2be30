"""Convert the recipe's sections to a job: with `stage`, the only module of this stage that knows sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.sizing.parallel import ParallelConfig, num_passes
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import PRETRAINING, Optimization, Tuning
from arctic_model.training.spikes import SpikePolicy
from data_recipes.sections.training import TrainSection
from pipelines.artifacts.sequence_order.phase_plan import PhaseOrder
from pipelines.train.job import CheckpointPolicy, Segment, TrainJob, WorkerGroup


@dataclass(frozen=True)
class SegmentSettings:
    """Settings of the steps after `first_step`, up to the next segment or the end of the phase.

    `first_tokens`: read in the steps before; `schedule`: warmup_tokens, decay_start_tokens, decay_end_tokens and
    decay as far as they concern these steps (see `arctic_model.training.optimization.schedule.Schedule`);
    `weights` and `weights_to` of corpora, if an amendment changes them here.
    """

    first_step: int
    first_tokens: int
    section: TrainSection
    schedule: Mapping[str, Any]
    weights: Mapping[str, Any] = field(default_factory=dict)


def new_job(
    settings: Sequence[SegmentSettings],
    config: ArcticConfig,
    mix: Path,
    tokens: Mapping[str, Path],
    folder: Path,
    start_from: Path | None = None,
    weights_from: Path | None = None,
    tuning: Tuning = PRETRAINING,
) -> TrainJob:
    """The job that trains a model on all of an order of sequences.

    Args:
        settings: of the first step on, and of each later change on.
        config: the architecture.
        mix: the artifact with the order.
        tokens: by corpus, the artifact with its packed sequences.
        folder: survives attempts.
        start_from: checkpoint to continue, with its steps and optimizer.
        weights_from: checkpoint to take weights from alone.
        tuning: the settings of a fine-tune.
    """
    section, order = settings[0].section, PhaseOrder.read(mix)
    return TrainJob(
        config=config,
        group=_worker_group([each.section for each in settings]),
        checkpoints=CheckpointPolicy(
            every_steps=section.checkpoint_every_steps,
            keep_last=section.keep_last_checkpoints,
            keep_best=section.keep_best_checkpoints,
            keep_every=section.keep_every_steps,
            keep_weights_every=section.keep_weights_every_steps,
        ),
        segments=_segments(settings, order, tuning),
        sequence_length=order.sequence_length,
        tokens=tokens,
        folder=folder,
        start_from=start_from,
        weights_from=weights_from,
        peak_tflops=section.peak_tflops,
        price_per_worker_hour=section.price_per_worker_hour,
        profile_steps=section.profile_steps,
    )


def _worker_group(sections: Sequence[TrainSection]) -> WorkerGroup:
    """The settings of the first section, with numbers of workers that divide the batches of all."""
    first = sections[0]
    names = {each.name for each in fields(WorkerGroup)} - {"num_workers", "fewer"}
    counts = [count for count in first.worker_counts if all(count in each.worker_counts for each in sections)]
    *fewer, most = counts
    return WorkerGroup(most, tuple(fewer), **{name: getattr(first, name) for name in names})


def _segments(settings: Sequence[SegmentSettings], order: PhaseOrder, tuning: Tuning) -> tuple[Segment, ...]:
    """The segments in order, each from the position at which the previous one stops reading."""
    segments: list[Segment] = []
    position = 0
    for number, each in enumerate(settings, start=1):
        batch = each.section.global_batch_sequences
        steps = (order.num_sequences - position) // batch
        last_step = settings[number].first_step if number < len(settings) else each.first_step + steps
        part = order.at(position)
        segments.append(_segment(each, last_step, part.folder, position - part.first_position, tuning))
        position += (last_step - each.first_step) * batch
    return tuple(segments)


def _segment(settings: SegmentSettings, last_step: int, mix: Path, first_position: int, tuning: Tuning) -> Segment:
    section = settings.section
    names = {each.name for each in fields(Optimization)} - {"tuning", "freeze"}
    values = {name: getattr(section, name) for name in names}
    return Segment(
        first_step=settings.first_step,
        last_step=last_step,
        first_tokens=settings.first_tokens,
        global_batch_sequences=section.global_batch_sequences,
        micro_batch_sequences=section.micro_batch_sequences,
        optimization=Optimization(**values, freeze=tuple(section.freeze), tuning=tuning),
        schedule=Schedule(section.peak_lr, section.final_lr_fraction, **settings.schedule),
        spikes=SpikePolicy(section.spike_factor, section.spike_window_steps, section.max_skipped_steps),
        mix=mix,
        first_position=first_position,
    )


def parallel_config(section: TrainSection, sequence_length: int, *, fewest: bool = False) -> ParallelConfig:
    """How the work of a phase is divided over its workers: the most that it may have, or the `fewest`. Raises
    ConfigError."""
    num_workers = section.worker_range[0 if fewest else 1]
    batch = section.global_batch_sequences, section.micro_batch_sequences
    return ParallelConfig(
        num_workers=num_workers,
        expert_parallel_size=section.expert_parallel_size,
        sequence_length=sequence_length,
        micro_batch_sequences=section.micro_batch_sequences,
        num_micro_batches=num_passes(*batch, num_workers, section.context_parallel_size),
        engine=section.engine,
        zero_stage=section.zero_stage,
        shard_group_size=section.shard_group_size,
        dtype=section.dtype,
        gradient_dtype=section.gradient_dtype,
        fp8=section.fp8,
        optimizer=section.optimizer,
        activation_checkpointing=section.activation_checkpointing,
        context_parallel_size=section.context_parallel_size,
    )
