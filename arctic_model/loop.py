"""The training loop: the same under Ray Train, under `torchrun`, and in one process.

Every worker calls `train` in step. What a step computes depends on the plan and the step's number alone: batches
come by arithmetic, losses are divided by counts over all workers, and nothing is drawn.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model import history
from arctic_model.checkpoint import (
    Checkpoint,
    CheckpointError,
    Part,
    TrainingState,
    checkpoint_name,
    newest_checkpoint,
    remove_all_but,
    write_checkpoint,
)
from arctic_model.config import ArcticConfig
from arctic_model.engine import WEIGHT, Engine
from arctic_model.history import Record
from arctic_model.objective import Batch, Scale, StepSums, counts, num_sums, training_loss, unpacked
from arctic_model.optimizer import Optimization
from arctic_model.router import balance_loss, max_expert_load, z_loss
from arctic_model.schedule import Schedule
from arctic_model.tensor_names import local_experts, stacked, unstacked

KEPT_CHECKPOINTS = 2
"""The newest, and one to fall back on where the newest turns out damaged."""


class TrainingError(RuntimeError):
    """Training cannot go on: the message names the step and the last good checkpoint."""


@dataclass(frozen=True)
class TrainingPlan:
    """One stretch of training: steps `first_step + 1` to `last_step`, counted since the run's first step.

    `folder` keeps checkpoints and history and survives attempts; `start_from` is the checkpoint after
    `first_step`, None where there is none yet.
    """

    config: ArcticConfig
    optimization: Optimization
    schedule: Schedule
    first_step: int
    last_step: int
    tokens_per_step: int
    num_micro_batches: int
    checkpoint_every_steps: int
    expert_parallel_size: int
    folder: Path
    start_from: Path | None = None

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


@runtime_checkable
class Batches(Protocol):
    def __call__(self, step: int) -> list[Batch]:
        """This worker's forward passes of a step."""


@runtime_checkable
class Observer(Protocol):
    """Hears from worker 0."""

    def stepped(self, step: int) -> None:
        """A step is done."""

    def committed(self, records: Sequence[Record]) -> None:
        """A checkpoint holds every step of `records`; they were not told before by this process."""


def train(plan: TrainingPlan, batches: Batches, observer: Observer) -> None:
    """Run the plan's steps from its newest checkpoint on. The process group must exist.

    Raises TrainingError where the loss is no number, CheckpointError where all checkpoints are damaged, ValueError
    where workers and experts do not fit.
    """
    torch.manual_seed(plan.optimization.seed)
    torch.set_deterministic_debug_mode("error")
    # Filling every new tensor first would find reads of uninitialised memory, at a third of the speed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    engine = Engine(plan.config, plan.optimization, plan.expert_parallel_size, plan.num_micro_batches, training_loss)
    try:
        _Training(plan, engine, observer).run(batches)
    finally:
        engine.close()


class _Training:
    """What changes from step to step."""

    def __init__(self, plan: TrainingPlan, engine: Engine, observer: Observer) -> None:
        self.plan = plan
        self.engine = engine
        self.observer = observer
        self.is_first = dist.get_rank() == 0
        self.shape = (plan.config.num_layers, plan.config.num_experts)
        self.load = torch.zeros(self.shape, dtype=torch.float64)
        self.assignments = torch.zeros(self.shape, dtype=torch.float64)
        self.records: list[Record] = []
        self.step = plan.first_step
        self.last_good: Path | None = None

    def run(self, batches: Batches) -> None:
        self._resume()
        if self.step == self.plan.last_step:
            return
        current = batches(self.step + 1)
        totals = counts(current).to(self.engine.device)
        dist.all_reduce(totals)
        while self.step < self.plan.last_step:
            upcoming = batches(self.step + 2) if self.step + 1 < self.plan.last_step else []
            totals = self._take_step(current, totals, upcoming)
            current = upcoming
            if self.step == self.plan.last_step or self.step % self.plan.checkpoint_every_steps == 0:
                self._commit()

    def _take_step(self, batches: list[Batch], totals: Tensor, upcoming: list[Batch]) -> Tensor:
        """One optimizer step, given its counts over all workers. Returns the upcoming step's counts."""
        started = time.perf_counter()
        predicted, tokens = totals.tolist()
        scale = Scale(max(predicted, 1.0), max(tokens, 1.0), self.load.float().to(self.engine.device))
        sums = torch.zeros(num_sums(*self.shape), dtype=torch.float64, device=self.engine.device)
        for batch in batches[:-1]:
            loss, part = self._forward(batch, scale)
            self.engine.backward(loss)
            self.engine.end_micro_batch()
            sums += part
        loss, part = self._forward(batches[-1], scale)
        vector = torch.cat([sums + part, counts(upcoming).to(sums.device)])
        # One collective a step carries everything that is counted over workers, and backward hides it.
        work = dist.all_reduce(vector, async_op=True)
        self.engine.backward(loss)
        work.wait()
        self._finish_step(unpacked(vector[:-2].cpu(), *self.shape), scale, started)
        return vector[-2:]

    def _forward(self, batch: Batch, scale: Scale) -> tuple[Tensor, Tensor]:
        moved = Batch(*(part.to(self.engine.device, non_blocking=True) for part in batch))
        loss, sums = self.engine.forward(moved, scale, self.plan.optimization)
        # DeepSpeed takes the mean over workers; the shares of the loss were made to be added.
        return loss * dist.get_world_size(), sums

    def _finish_step(self, sums: StepSums, scale: Scale, started: float) -> None:
        plan, step = self.plan, self.step + 1
        tokens = step * plan.tokens_per_step
        loss = float(sums.nll) / scale.predicted
        self._require_finite(step, "loss", loss)
        learning_rate = plan.schedule.learning_rate(tokens)
        norm = self.engine.step(learning_rate)
        self._require_finite(step, "gradient norm", norm)
        self.step = step
        self.load = sums.router.assignments / scale.tokens
        self.assignments += sums.router.assignments
        self.records.append(
            {
                "step": step,
                "tokens": tokens,
                "loss": loss,
                "balance_loss": float(balance_loss(self.load, sums.router.probabilities, scale.tokens)),
                "z_loss": float(z_loss(sums.router.z, scale.tokens)),
                "gradient_norm": norm,
                "learning_rate": learning_rate,
                "max_expert_load": max_expert_load(sums.router.assignments),
                "tokens_per_s": plan.tokens_per_step / (time.perf_counter() - started),
            }
        )
        if self.is_first:
            self.observer.stepped(step)

    def _require_finite(self, step: int, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"step {step}: the {what} is {value}. The last good checkpoint is "
                f"{self.last_good or 'none: no step was saved yet'}. Lower train.peak_lr or train.gradient_clip."
            )

    def _resume(self) -> None:
        checkpoint = self._starting_checkpoint()
        if checkpoint is not None:
            self._load(checkpoint)
        if self.is_first:
            self.plan.checkpoints.mkdir(parents=True, exist_ok=True)
            remove_all_but(self.plan.checkpoints, KEPT_CHECKPOINTS)
            records = history.truncate(self.plan.history, self.step)
            if records:
                self.observer.committed(records)

    def _starting_checkpoint(self) -> Checkpoint | None:
        """The first worker looks and verifies, so that all take the same one."""
        found = newest_checkpoint(self.plan.checkpoints) if self.is_first else None
        step = torch.tensor([found.state.step if found else -1], device=self.engine.device)
        dist.broadcast(step, src=0)
        if int(step) >= 0:
            return found or Checkpoint(self.plan.checkpoints / checkpoint_name(int(step)))
        if self.plan.start_from is None:
            return None
        checkpoint = Checkpoint(self.plan.start_from)
        if self.is_first:
            checkpoint.verify()
        return checkpoint

    def _load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.config != self.plan.config:
            raise CheckpointError(
                f"{checkpoint.folder}: was trained as {checkpoint.config}, the recipe says {self.plan.config}. "
                "Give the run its old model section back, or train from the start."
            )
        experts = local_experts(self.engine.model)
        self.engine.load(
            checkpoint.state.step,
            lambda name, kind: stacked(lambda outside: checkpoint.read(outside, kind), name, experts),
        )
        self.step = checkpoint.state.step
        self.load = torch.tensor(checkpoint.state.load, dtype=torch.float64)
        self.last_good = checkpoint.folder

    def _commit(self) -> None:
        """History first: a checkpoint without its history is never seen, history without its checkpoint is cut."""
        folder = self.plan.checkpoints / checkpoint_name(self.step)
        parts = _parts(self.engine, self.plan.config.num_experts)
        if self.is_first:
            history.append(self.plan.history, self.records)
            state = TrainingState(
                self.step,
                self.step * self.plan.tokens_per_step,
                self.load.tolist(),
                self.assignments.long().tolist(),
            )
            write_checkpoint(folder, self.plan.config, state, parts)
            remove_all_but(self.plan.checkpoints, KEPT_CHECKPOINTS)
            self.observer.committed(self.records)
        else:
            for _ in parts:
                pass
        self.records = []
        self.assignments.zero_()
        self.last_good = folder


def _parts(engine: Engine, num_experts: int) -> Iterator[Part]:
    """The checkpoint's files, one layer at a time so that no worker ever holds the whole model."""
    for _, group in groupby(engine.tensors(), key=lambda item: item[0].split(".")[:3][-1]):
        weights: dict[str, Tensor] = {}
        moments: dict[str, Tensor] = {}
        for name, kind, tensor in group:
            for outside, part in unstacked(name, tensor, range(num_experts)):
                if kind == WEIGHT:
                    weights[outside] = part
                else:
                    moments[f"{outside}.{kind}"] = part
        yield "model", weights
        yield "optimizer", moments
