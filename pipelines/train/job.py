"""What every worker of a phase is told: plain data and paths. No torch here."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.sizing.parallel import ParallelConfig
from data_recipes.finetuning import LoraSection
from data_recipes.training import TrainSection
from pipelines.artifacts.phase_plan import PhasePlan


@dataclass(frozen=True)
class TrainJob:
    """One phase. `tokens` is the folder of each corpus' packed sequences, `folder` survives attempts, `start_from` is
    the checkpoint after `first_step`; without one, training starts from the weights in `weights_from`, with their
    optimizer state if `with_optimizer`, or from drawn ones. With `lora`, adapters are trained beside these. Steps and
    tokens count from the run's first phase."""

    config: ArcticConfig
    section: TrainSection
    schedule: Mapping[str, Any]
    mix: Path
    tokens: Mapping[str, Path]
    folder: Path
    start_from: Path | None
    first_step: int
    last_step: int
    tokens_per_step: int
    weights_from: Path | None = None
    with_optimizer: bool = False
    lora: LoraSection | None = None

    @property
    def failure(self) -> Path:
        """Where a worker writes down an error that a restart would not mend."""
        return self.folder / "failure.json"


def parallel_config(section: TrainSection, sequence_length: int, num_workers: int) -> ParallelConfig:
    """The section's work on `num_workers` workers, as `arctic_model.sizing` counts it. Raises ConfigError."""
    return ParallelConfig(
        num_workers=num_workers,
        expert_parallel_size=section.expert_parallel_size,
        sequence_length=sequence_length,
        micro_batch_sequences=section.micro_batch_sequences,
        num_micro_batches=section.global_batch_sequences // (num_workers * section.micro_batch_sequences),
        zero_stage=section.zero_stage,
        dtype=section.dtype,
        gradient_dtype=section.gradient_dtype,
        optimizer=section.optimizer,
        activation_checkpointing=section.activation_checkpointing,
    )


def with_tokens(record: Mapping[str, Any], job: TrainJob, plan: PhasePlan) -> dict[str, Any]:
    """A step's record and, as `tokens_by_corpus`, what has been read of each corpus since the run's first step."""
    read = plan.taken((record["step"] - job.first_step) * job.section.global_batch_sequences)
    return {**record, "tokens_by_corpus": {corpus: count * plan.sequence_length for corpus, count in read.items()}}


def require_gpus(section: TrainSection) -> None:
    """Check that torch sees the GPUs that a worker is to have. Raises ValueError naming the mend."""
    if not section.gpus_per_worker:
        return
    import torch

    if not torch.cuda.is_available():
        raise ValueError(
            f"train.gpus_per_worker = {section.gpus_per_worker:g}, but torch {torch.__version__} sees no GPU on "
            f"{socket.gethostname()}. Set gpus_per_worker to 0, or install the driver and torch's build for CUDA."
        )
