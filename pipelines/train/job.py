"""What every worker of a phase is told: plain data and paths. No torch here."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.presets import preset
from arctic_model.sizing.memory import Spread
from data_recipes import RecipeError, RunRecipe
from data_recipes.schema import TrainSection
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.tokens import TokenSequences


@dataclass(frozen=True)
class TrainJob:
    """One phase. `tokens` is the folder of each corpus' packed sequences, `folder` survives attempts, `start_from`
    is the checkpoint after `first_step`. Steps and tokens count from the run's first phase."""

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

    @property
    def failure(self) -> Path:
        """Where a worker writes down an error that a restart would not mend."""
        return self.folder / "failure.json"


def model_config(run: RunRecipe) -> ArcticConfig:
    """The architecture that `run` trains: its preset with the tokenizer's vocabulary and the overrides. Raises
    RecipeError where it contradicts itself, or cannot be trained as the recipe says."""
    try:
        config = preset(run.model.preset, {"vocab_size": run.tokenizer.vocab_size, **run.model.overrides})
        spread_of(run.train, run.tokenize.sequence_length, run.train.num_workers).require_fit(config)
    except ValueError as error:
        raise RecipeError(f"run {run.name}: {error}") from None
    return config


def spread_of(section: TrainSection, sequence_length: int, num_workers: int) -> Spread:
    """The section's work on `num_workers` workers, as `arctic_model.sizing.memory` counts it. Raises ValueError."""
    return Spread(
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


def require_fit(config: ArcticConfig, section: TrainSection, plan: PhasePlan, tokens: Mapping[str, Path]) -> None:
    """Check before any worker starts that model and workers fit the data that they are given. Raises ValueError naming
    the mend. Contradictions inside a recipe are found when its graph is built, by the same rules."""
    spread_of(section, plan.sequence_length, section.num_workers).require_fit(config)
    if plan.num_sequences % section.global_batch_sequences:
        raise ValueError(
            f"phase {plan.phase} has {plan.num_sequences} sequences, not a whole number of steps of "
            f"train.global_batch_sequences = {section.global_batch_sequences}. Change the phase's tokens."
        )
    for corpus, folder in tokens.items():
        vocabulary = TokenSequences(folder, "train").index.vocab_size
        if vocabulary > config.vocab_size:
            raise ValueError(
                f"{folder}: the tokens of {corpus} come from a vocabulary of {vocabulary}, the model has "
                f"model.vocab_size = {config.vocab_size}. Make the two equal."
            )
