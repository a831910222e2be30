"""The work of one segment of training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arctic_model.checkpoint.reading import Retention
from arctic_model.config import ArcticConfig
from arctic_model.training.first_weights import InitialWeights
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.saving import CHECKPOINTS, HISTORY
from arctic_model.training.spikes import SpikePolicy, norm_conditions


@dataclass(frozen=True)
class TrainingPlan:
    """One segment of training: steps `first_step + 1` to `last_step`, counted from the first step of the run.

    Args:
        config: the architecture.
        optimization: optimizer, losses and precision.
        schedule: learning rate by tokens.
        first_step: the last step of the segment before, 0 for the first.
        last_step: the last step of this segment.
        sequence_length: tokens of a sequence, over all workers that share it.
        tokens_per_step: of all workers.
        first_tokens: read in the steps up to `first_step`.
        num_micro_batches: passes of a worker per step.
        checkpoint_every_steps: a checkpoint is also written after the last step.
        expert_parallel_size: workers that share one copy of all experts.
        folder: holds checkpoints and history, and survives attempts.
        start_from: the checkpoint after `first_step`, None for the first segment.
        initial: the weights before the first step; None draws them.
        retention: the checkpoints that stay.
        corpora: names of the corpora that batches number.
        peak_flops: of one worker; None if unknown, and then no MFU is reported.
        traced: first and last step of a profiler trace, which worker 0 writes.
        collective_timeout_s: a collective that takes longer fails.
        spikes: the steps to skip.
        context_parallel_size: workers that share each sequence, neighbours; batches hold this worker's part.
    """

    config: ArcticConfig
    optimization: Optimization
    schedule: Schedule
    first_step: int
    last_step: int
    sequence_length: int
    tokens_per_step: int
    num_micro_batches: int
    checkpoint_every_steps: int
    expert_parallel_size: int
    folder: Path
    start_from: Path | None = None
    initial: InitialWeights | None = None
    retention: Retention = field(default_factory=Retention)
    corpora: tuple[str, ...] = ()
    peak_flops: float | None = None
    traced: tuple[int, int] | None = None
    collective_timeout_s: float = 600.0
    spikes: SpikePolicy = field(default_factory=SpikePolicy)
    first_tokens: int = 0
    context_parallel_size: int = 1

    def tokens(self, step: int) -> int:
        """Tokens read up to the end of a step of this segment, since the first step of the run."""
        return self.first_tokens + (step - self.first_step) * self.tokens_per_step

    @property
    def norm_conditions(self) -> dict[str, Any]:
        """See `arctic_model.training.spikes.norm_conditions`."""
        return norm_conditions(self.config, self.optimization, self.sequence_length, self.tokens_per_step)

    @property
    def history(self) -> Path:
        """File of the history."""
        return self.folder / HISTORY

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / CHECKPOINTS

    @property
    def traces(self) -> Path:
        """Folder of the traces, next to `folder`, which is deleted after the segment."""
        return self.folder.with_name(f"{self.folder.name.removesuffix('.state')}.traces")
