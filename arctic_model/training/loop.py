"""The training loop: the same under Ray Train, under `torchrun`, and in one process.

Every worker calls `train` in step. What a step computes depends on the plan and the step's number alone: batches
come by arithmetic, losses are divided by counts over all workers, and nothing is drawn.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_errors import ArcticError
from arctic_model.checkpoint.reading import Retention, TrainingState
from arctic_model.config import ArcticConfig
from arctic_model.moe.balance import balance_loss, imbalance, max_expert_load, router_figures, z_loss
from arctic_model.moe.comm_stream import collective_timeout
from arctic_model.sizing.flops import training_flops_per_token
from arctic_model.training.engine import Engine
from arctic_model.training.history import OpenRecord, Record
from arctic_model.training.host_memory import keep_freed_memory
from arctic_model.training.objective import Batch, Scale, StepSums, counts, num_sums, training_loss, unpacked
from arctic_model.training.optimizer import Optimization
from arctic_model.training.saving import CHECKPOINTS, HISTORY, Saver, mean_loss
from arctic_model.training.schedule import Schedule
from arctic_model.training.spikes import SpikeGuard, SpikePolicy
from arctic_model.training.telemetry import Telemetry, Work
from arctic_model.training.trace import Trace

logger = logging.getLogger(__name__)


class TrainingError(ArcticError, RuntimeError):
    """Training cannot go on: the message names the step and the last good checkpoint."""


@dataclass(frozen=True)
class TrainingPlan:
    """One stretch of training: steps `first_step + 1` to `last_step`, counted since the run's first step.

    `folder` keeps checkpoints and history and survives attempts; `start_from` is the checkpoint after
    `first_step`, None where there is none yet. `corpora` are the names behind the batches' `corpora`. `peak_flops` of
    one worker, None where nobody states one. Of the steps `traced` (first, last) worker 0 writes a profiler's trace. A
    collective that takes longer than `collective_timeout_s` fails.
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
    retention: Retention = field(default_factory=Retention)
    corpora: tuple[str, ...] = ()
    peak_flops: float | None = None
    traced: tuple[int, int] | None = None
    collective_timeout_s: float = 600.0
    spikes: SpikePolicy = field(default_factory=SpikePolicy)

    @property
    def history(self) -> Path:
        return self.folder / HISTORY

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @property
    def traces(self) -> Path:
        """Where traces are kept, beside `folder`, which goes when the stretch is done."""
        return self.folder.with_name(f"{self.folder.name.removesuffix('.state')}.traces")


@runtime_checkable
class Batches(Protocol):
    def __call__(self, step: int) -> list[Batch]:
        """This worker's forward passes of a step."""


@runtime_checkable
class Observer(Protocol):
    """Hears from worker 0."""

    def stepped(self, step: int, seconds: float) -> None:
        """A step is done; it took `seconds`, without checkpoints."""

    def committed(self, records: Sequence[Record]) -> None:
        """A checkpoint holds every step of `records`; they were not told before by this process."""

    def traced(self, file: Path) -> None:
        """A profiler's trace is written."""


def train(plan: TrainingPlan, batches: Batches, observer: Observer) -> None:
    """Run the plan's steps from its newest checkpoint on. The process group must exist.

    Raises TrainingError if too many steps had to be skipped (see `arctic_model.training.spikes`), CheckpointError if
    all checkpoints are damaged, ValueError if workers and experts do not fit.
    """
    keep_freed_memory()
    torch.manual_seed(plan.optimization.seed)
    torch.set_deterministic_debug_mode("error")
    # Filling every new tensor first would find reads of uninitialised memory, at a third of the speed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with collective_timeout(plan.collective_timeout_s):
        engine = Engine(
            plan.config, plan.optimization, plan.expert_parallel_size, plan.num_micro_batches, training_loss
        )
        try:
            training = _Training(plan, engine, observer)
            with training.saver:
                training.run(batches)
        finally:
            engine.close()


class _Training:
    """What changes from step to step."""

    def __init__(self, plan: TrainingPlan, engine: Engine, observer: Observer) -> None:
        self.plan = plan
        self.engine = engine
        self.observer = observer
        self.is_first = dist.get_rank() == 0
        self.shape = (plan.config.num_layers, plan.config.num_experts, len(plan.corpora))
        self.load = torch.zeros(self.shape[:2], dtype=torch.float64)
        self.assignments = torch.zeros(self.shape[:2], dtype=torch.float64)
        self.records: list[OpenRecord] = []
        self.step = plan.first_step
        self.updates = plan.first_step
        self.guard = SpikeGuard(plan.spikes)
        self.trace = Trace(plan.traced if self.is_first else None, plan.traces, observer.traced)
        self.saver = Saver(engine, plan.folder, plan.retention, observer.committed, plan.collective_timeout_s)

    def run(self, batches: Batches) -> None:
        self._resume()
        if self.step == self.plan.last_step:
            return
        current = batches(self.step + 1)
        self.telemetry = Telemetry(self.engine.device, self.engine.group, self._work(current[0]), self.step + 1)
        totals = counts(current).to(self.engine.device)
        dist.all_reduce(totals)
        while self.step < self.plan.last_step:
            self.trace.before(self.step + 1)
            with self.telemetry.part("data"):
                upcoming = batches(self.step + 2) if self.step + 1 < self.plan.last_step else []
            totals = self._take_step(current, totals, upcoming)
            self.trace.after(self.step)
            current = upcoming
            self.saver.poll()
            if self.step == self.plan.last_step or self.step % self.plan.checkpoint_every_steps == 0:
                self._save()
        self.trace.close()

    def _take_step(self, batches: list[Batch], totals: Tensor, upcoming: list[Batch]) -> Tensor:
        """One optimizer step, given its counts over all workers. Returns the upcoming step's counts."""
        predicted, tokens = totals.tolist()
        scale = Scale(max(predicted, 1.0), max(tokens, 1.0), self.load.float().to(self.engine.device))
        sums = torch.zeros(num_sums(*self.shape), dtype=torch.float64, device=self.engine.device)
        for batch in batches[:-1]:
            loss, part = self._forward(batch, scale)
            with self.telemetry.part("backward"):
                self.engine.backward(loss)
                self.engine.end_micro_batch()
            sums += part
        loss, part = self._forward(batches[-1], scale)
        vector = torch.cat([sums + part, counts(upcoming).to(sums.device)])
        # One collective a step carries everything that is counted over workers, and backward hides it.
        work = dist.all_reduce(vector, async_op=True)
        with self.telemetry.part("backward"):
            self.engine.backward(loss)
        with self.telemetry.part("sums"):
            work.wait()
        self._finish_step(unpacked(vector[:-2].cpu(), *self.shape), scale)
        return vector[-2:]

    def _forward(self, batch: Batch, scale: Scale) -> tuple[Tensor, Tensor]:
        with self.telemetry.part("forward"):
            moved = Batch(*(part.to(self.engine.device, non_blocking=True) for part in batch))
            loss, sums = self.engine.forward(moved, scale, self.plan.optimization)
        return loss, sums

    def _finish_step(self, sums: StepSums, scale: Scale) -> None:
        plan, step = self.plan, self.step + 1
        tokens = step * plan.tokens_per_step
        loss = float(sums.nll) / scale.predicted
        loss_by_corpus = self._loss_by_corpus(sums)
        learning_rate = plan.schedule.learning_rate(tokens)
        load = sums.router.assignments / scale.tokens
        with self.telemetry.part("optimizer"):
            norm = self.engine.gradient_norm()
            fault = self.guard.fault(loss, norm, loss_by_corpus)
            if fault is None:
                self._update(learning_rate, norm, load)
                if plan.optimization.balance_bias_rate:
                    self.engine.model.balance(sums.router.assignments, plan.optimization.balance_bias_rate)
            else:
                self._skip(step, fault)
        self.step = step
        self.assignments += sums.router.assignments
        record: OpenRecord = {
            "step": step,
            "tokens": tokens,
            "loss": loss,
            "loss_by_corpus": loss_by_corpus,
            "balance_loss": float(balance_loss(load, sums.router.probabilities, scale.tokens)),
            "z_loss": float(z_loss(sums.router.z, scale.tokens)),
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "max_expert_load": max_expert_load(sums.router.assignments),
            "skipped": int(fault is not None),
        }
        self.layers = router_figures(sums.router, scale.tokens)
        table = torch.stack(list(self.layers.values()))
        for name, mean, most in zip(self.layers, table.mean(1).tolist(), table.amax(1).tolist(), strict=True):
            record |= {f"{name}_mean": mean, f"{name}_max": most}
        self.records.append(record)
        seconds = self.telemetry.end_step(record)
        if self.is_first:
            self.observer.stepped(step, seconds)

    def _loss_by_corpus(self, sums: StepSums) -> dict[str, float]:
        """Of those corpora that this step read."""
        columns = zip(self.plan.corpora, sums.corpus_nll.tolist(), sums.corpus_predicted.tolist(), strict=True)
        return {corpus: nll / predicted for corpus, nll, predicted in columns if predicted}

    def _work(self, batch: Batch) -> Work:
        plan = self.plan
        flops = plan.tokens_per_step * training_flops_per_token(plan.config, batch.ids.shape[1])
        return Work(plan.tokens_per_step, flops, plan.peak_flops and plan.peak_flops * dist.get_world_size())

    def _update(self, learning_rate: float, norm: float, load: Tensor) -> None:
        self.engine.step(learning_rate, norm)
        self.updates += 1
        self.load = load
        self.guard.take(norm)

    def _skip(self, step: int, fault: str) -> None:
        """Leave the step's data behind, and everything else as it is."""
        self.engine.skip_step()
        if self.is_first:
            logger.warning("step %d is skipped: %s", step, fault)
        if not self.guard.skip(step):
            raise TrainingError(
                f"step {step}: {fault}, and {len(self.guard.skipped)} of the last {self.plan.spikes.window} steps were "
                f"skipped, more than train.max_skipped_steps = {self.plan.spikes.max_skipped}. The last good "
                f"checkpoint is {self.saver.last_good() or 'none: no step was saved yet'}. Lower train.peak_lr, or "
                "raise train.spike_factor if such norms are sound."
            )

    def _resume(self) -> None:
        state = self.saver.resume(self.plan.start_from)
        if state is not None:
            self.step = state.step
            self.updates = state.updates
            self.guard = SpikeGuard(self.plan.spikes, state.gradient_norms, state.skipped_steps)
            self.load = torch.tensor(state.load, dtype=torch.float64)

    def _save(self) -> None:
        self.telemetry.settle()
        self.records[-1]["router_layers"] = {name: figure.tolist() for name, figure in self.layers.items()}
        if (found := imbalance(self.assignments)) is not None:
            self.records[-1]["imbalance"] = found._asdict()
            self.records[-1] |= {"starved_experts": found.starved, "crowded_experts": found.crowded}
        state = TrainingState(
            self.step,
            self.step * self.plan.tokens_per_step,
            self.load.tolist(),
            self.assignments.long().tolist(),
            self.updates,
            list(self.guard.norms),
            list(self.guard.skipped),
            mean_loss(self.records),
        )
        self.saver.save(state, self.records)
        self.records = []
        self.assignments.zero_()
