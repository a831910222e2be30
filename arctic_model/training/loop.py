"""The training loop: the same in an actor of Ray, under `torchrun`, and in one process.

Every worker calls `train` in step. A step depends on the plan and on its number alone: batches follow by arithmetic,
losses are divided by counts over all workers, and random numbers, which dropout alone draws, follow from the step.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_errors import ArcticError
from arctic_model.checkpoint.reading import RECENT_LOSSES, TrainingState
from arctic_model.kernels.comm_stream import collective_timeout
from arctic_model.moe.balance import RouterSums, imbalance, router_figures
from arctic_model.sizing.flops import training_flops_per_token
from arctic_model.training.engine import Engine
from arctic_model.training.history import OpenRecord, Record
from arctic_model.training.losses.objective import (
    Batch,
    Scale,
    StepSums,
    counts,
    num_sums,
    router_columns,
    step_columns,
    training_loss,
    unpacked,
)
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.process import prepare_process, seed_step
from arctic_model.training.reference import Reference
from arctic_model.training.saving import Saver
from arctic_model.training.spikes import SpikeGuard
from arctic_model.training.telemetry import Telemetry, Trace, Work

ROUTER_EVERY_STEPS = 10
"""Steps between two records by layer."""
FADING = 63 / 64
"""Factor per step of the counts that show the recent load of experts."""
STOP_UNIT = 2.0**42
"""Added to a count of tokens by each worker that is asked to stop: above all counts, and exact in float64, so that the
collective of a step is unchanged."""

logger = logging.getLogger(__name__)


class TrainingError(ArcticError, RuntimeError):
    """Training cannot go on: the message names the step and the last good checkpoint."""


class InterruptedTrainingError(ArcticError, RuntimeError):
    """Training stopped after a step because a worker was asked to; the checkpoint of that step is written."""


@runtime_checkable
class Batches(Protocol):
    """The data of training, by step."""

    def __call__(self, step: int) -> list[Batch]:
        """This worker's forward passes of a step."""


@runtime_checkable
class Observer(Protocol):
    """Callbacks, called on worker 0."""

    def stepped(self, step: int, seconds: float) -> None:
        """A step is done; it took `seconds`, without checkpoints."""

    def recorded(self, records: Sequence[Record]) -> None:
        """The records of some steps are complete, in order and each once: first those of earlier attempts up to the
        checkpoint that this one starts from, then those of each new step, one step late."""

    def saving(self) -> None:
        """A checkpoint of the steps so far is about to be written."""

    def traced(self, file: Path) -> None:
        """A profiler's trace is written."""


def never_stop() -> bool:
    """The answer of a worker that is never asked to stop."""
    return False


def train(
    plan: TrainingPlan,
    batches: Batches,
    observer: Observer,
    stop: Callable[[], bool] = never_stop,
    heldout: Sequence[Batch] = (),
) -> int:
    """Run the steps of the plan, from its newest checkpoint on. The default process group must exist.

    Args:
        plan: the same on all workers.
        batches: this worker's data.
        observer: callbacks on worker 0.
        stop: whether this worker is asked to stop, by the end of a step; one worker suffices.
        heldout: this worker's pairs that are measured after the last step, in the same number of passes as any other
        worker's.

    Returns:
        The step of the newest checkpoint in the end: the plan's last, or one outside the plan, whose settings are not
        those to go on with. Then nothing was trained.

    Raises:
        TrainingError: if too many steps were skipped (see `arctic_model.training.spikes`).
        CheckpointError: if all checkpoints are damaged.
        InterruptedTrainingError: if a worker was asked to stop.
        ValueError: if workers and experts do not fit.
    """
    prepare_process(plan.optimization.seed, deterministic=plan.optimization.deterministic)
    with collective_timeout(plan.collective_timeout_s):
        engine = _new_engine(plan)
        try:
            with Saver(engine, plan.folder, plan.retention, plan.collective_timeout_s) as saver:
                steps = range(plan.first_step, plan.last_step + 1)
                saved, records = saver.resume(plan.start_from, plan.initial, steps)
                if saved is None and plan.initial is None:
                    engine.draw()
                if records:
                    observer.recorded(records)
                state = _State.resumed(plan, saved, saver.first_updates)
                if not plan.first_step <= state.step <= plan.last_step:
                    return state.step
                pairs = Reference(engine, plan.optimization, plan.folder, steps[1:], batches, heldout)
                if plan.optimization.tuning.dpo:
                    pairs.compute(at_start=state.step == plan.first_step)
                    batches = pairs
                if state.step < plan.last_step:
                    first = batches(state.step + 1)
                    groups = engine.group, engine.context
                    telemetry = Telemetry(engine.device, *groups, _work(plan, first[0]), state.step + 1)
                    _Loop(plan, engine, saver, observer, state, telemetry, stop).run(first, batches)
                pairs.measure_heldout()
                return state.step
        finally:
            engine.close()


@dataclass
class _State:
    """The state that changes from step to step, besides the tensors in the engine.

    `load` [L, E]: assignments per token in the last update; `assignments` [L, E]: of recent steps, fading; `losses`: of
    recent steps that were not skipped; `records`: since the last checkpoint. L counts the layers with experts.
    """

    step: int
    updates: int
    guard: SpikeGuard
    load: Tensor
    assignments: Tensor
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_LOSSES))
    records: list[OpenRecord] = field(default_factory=list)

    @classmethod
    def resumed(cls, plan: TrainingPlan, saved: TrainingState | None, first_updates: int) -> "_State":
        """The state of a checkpoint, or that before the first step, after `first_updates` updates of another run."""
        none = torch.zeros(len(plan.config.moe_layers), plan.config.num_experts, dtype=torch.float64)
        if saved is None:
            return cls(plan.first_step, plan.first_step + first_updates, SpikeGuard(plan.spikes), none, none.clone())
        norms = saved.gradient_norms if saved.norm_conditions == plan.norm_conditions else ()
        guard = SpikeGuard(plan.spikes, norms, saved.skipped_steps)
        tables = (torch.tensor(table, dtype=torch.float64) for table in (saved.load, saved.assignments))
        load, assignments = (table.view_as(none) for table in tables)
        return cls(saved.step, saved.updates, guard, load, assignments, deque(saved.losses, maxlen=RECENT_LOSSES))

    def to_save(self, plan: TrainingPlan) -> TrainingState:
        """The part that a checkpoint holds."""
        return TrainingState(
            self.step,
            plan.tokens(self.step),
            self.load.tolist(),
            self.assignments.tolist(),
            self.updates,
            list(self.guard.norms),
            list(self.guard.skipped),
            list(self.losses),
            plan.norm_conditions,
        )


class _Loop:
    """The steps of a plan, one after the other."""

    def __init__(
        self,
        plan: TrainingPlan,
        engine: Engine,
        saver: Saver,
        observer: Observer,
        state: _State,
        telemetry: Telemetry,
        stop: Callable[[], bool],
    ) -> None:
        self.plan = plan
        self.engine = engine
        self.saver = saver
        self.observer = observer
        self.state = state
        self.telemetry = telemetry
        self.stop = stop
        self.is_stopping = False
        self.is_first = dist.get_rank() == 0
        self.unreported: list[OpenRecord] = []
        self.trace = Trace(plan.traced if self.is_first else None, plan.traces, observer.traced)

    def run(self, current: list[Batch], batches: Batches) -> None:
        """Run all steps, `current` first. Each step's batches are loaded before the step in front of it is computed."""
        plan, state = self.plan, self.state
        totals = counts(current).to(self.engine.device)
        dist.all_reduce(totals)
        while state.step < plan.last_step:
            self.trace.before(state.step + 1)
            with self.telemetry.part("data"):
                upcoming = batches(state.step + 2) if state.step + 1 < plan.last_step else []
            totals = self._take_step(current, totals, upcoming)
            self.trace.after(state.step)
            current = upcoming
            self.saver.poll()
            if self.is_stopping or state.step == plan.last_step or state.step % plan.checkpoint_every_steps == 0:
                self._save()
            if self.is_stopping and state.step < plan.last_step:
                raise InterruptedTrainingError(f"stopped after step {state.step}")
        self.trace.close()

    def _take_step(self, batches: list[Batch], totals: Tensor, upcoming: list[Batch]) -> Tensor:
        """One optimizer step, given its counts over all workers. Returns the counts of the upcoming step."""
        predicted, tokens = totals.tolist()
        seed_step(self.plan.optimization.seed, self.state.step + 1, dist.get_rank())
        scale = Scale(max(predicted, 1.0), max(tokens, 1.0), self.state.load.float().to(self.engine.device))
        shape = (len(self.plan.config.moe_layers), self.plan.config.num_experts, len(self.plan.corpora))
        sums = torch.zeros(num_sums(*shape), dtype=torch.float64, device=self.engine.device)
        for batch in batches[:-1]:
            loss, part = self._forward(batch, scale)
            with self.telemetry.part("backward"):
                self.engine.backward(loss)
                self.engine.end_micro_batch()
            sums += part
        loss, part = self._forward(batches[-1], scale)
        upcoming_counts = counts(upcoming).to(sums.device)
        upcoming_counts[0] += STOP_UNIT * self.stop()
        vector = torch.cat([sums + part, upcoming_counts])
        # One collective per step sums all counts over workers, and backward hides it.
        work = dist.all_reduce(vector, async_op=True)
        with self.telemetry.part("backward"):
            self.engine.backward(loss)
        with self.telemetry.part("sums"):
            work.wait()
        on_host = vector.cpu()
        self.is_stopping = bool(on_host[-2] >= STOP_UNIT)
        self._finish_step(unpacked(on_host[:-2], *shape), scale)
        return vector[-2:]

    def _forward(self, batch: Batch, scale: Scale) -> tuple[Tensor, Tensor]:
        with self.telemetry.part("forward"):
            on_device = Batch(*(part.to(self.engine.device, non_blocking=True) for part in batch))
            loss, sums = self.engine.forward(on_device, scale, self.plan.optimization, self.engine.context)
        return loss, sums

    def _finish_step(self, sums: StepSums, scale: Scale) -> None:
        """Update the weights or skip the step, and record it."""
        state, step = self.state, self.state.step + 1
        tokens = self.plan.tokens(step)
        learning_rate = self.plan.schedule.learning_rate(tokens)
        metrics = step_columns(sums, scale, self.plan.optimization, self.plan.corpora)
        with self.telemetry.part("optimizer"):
            norm = self.engine.gradient_norm()
            fault = state.guard.fault(metrics["loss"], norm, metrics["loss_by_corpus"])
            if fault is None:
                self._update(learning_rate, norm, sums, scale)
            else:
                self._skip(step, fault)
        state.step = step
        state.assignments.mul_(FADING).add_(sums.router.assignments)
        record: OpenRecord = {
            "step": step,
            "tokens": tokens,
            **metrics,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "skipped": int(fault is not None),
        }
        if self.plan.config.moe_layers:
            record |= self._router_columns(step, sums.router, scale.tokens)
        seconds = self.telemetry.end_step(record)
        self._report_records()
        state.records.append(record)
        self.unreported.append(record)
        if self.is_first:
            self.observer.stepped(step, seconds)

    def _router_columns(self, step: int, router: RouterSums, num_tokens: float) -> OpenRecord:
        """Figures of all layers' routers together and, in some steps, of each."""
        layers = router_figures(router, num_tokens)
        columns: OpenRecord = router_columns(router, num_tokens, layers)
        if step % ROUTER_EVERY_STEPS == 0 or step == self.plan.last_step:
            columns["router_layers"] = {name: figure.tolist() for name, figure in layers.items()}
        return columns

    def _update(self, learning_rate: float, norm: float, sums: StepSums, scale: Scale) -> None:
        assignments, settings = sums.router.assignments, self.plan.optimization
        self.engine.step(learning_rate, norm)
        self.state.updates += 1
        self.state.load = assignments / scale.tokens
        self.state.losses.append(float(sums.nll) / scale.predicted)
        self.state.guard.take(norm)
        if settings.balance_bias_rate and "router" not in settings.frozen:
            self.engine.model.balance(assignments, settings.balance_bias_rate)

    def _skip(self, step: int, fault: str) -> None:
        """Drop the gradient of the step, and change nothing else."""
        self.engine.skip_step()
        if self.is_first:
            logger.warning("step %d is skipped: %s", step, fault)
        guard, policy = self.state.guard, self.plan.spikes
        if not guard.skip(step):
            raise TrainingError(
                f"step {step}: {fault}, and {len(guard.skipped)} of the last {policy.window} steps were "
                f"skipped, more than train.max_skipped_steps = {policy.max_skipped}. The last good "
                f"checkpoint is {self.saver.last_good() or 'none: no step was saved yet'}. Lower train.peak_lr, or "
                "raise train.spike_factor if such norms are sound."
            )

    def _save(self) -> None:
        state = self.state
        self.telemetry.flush()
        newest = state.records[-1]
        if self.plan.config.moe_layers and (summary := imbalance(state.assignments)) is not None:
            newest["imbalance"] = summary._asdict()
            newest |= {"starved_experts": summary.starved, "crowded_experts": summary.crowded}
        self._report_records()
        if self.is_first:
            self.observer.saving()
        self.saver.save(state.to_save(self.plan), state.records)
        state.records = []

    def _report_records(self) -> None:
        if self.is_first and self.unreported:
            self.observer.recorded(self.unreported)
        self.unreported = []


def _new_engine(plan: TrainingPlan) -> Engine:
    sizes = (plan.expert_parallel_size, plan.num_micro_batches)
    context = plan.context_parallel_size
    return Engine(plan.config, plan.optimization, *sizes, training_loss, context_parallel_size=context, drawn=False)


def _work(plan: TrainingPlan, batch: Batch) -> Work:
    length = batch.ids.shape[1] * plan.context_parallel_size
    flops_per_token = training_flops_per_token(plan.config, length, plan.optimization.frozen)
    flops = plan.tokens_per_step * flops_per_token
    return Work(plan.tokens_per_step, flops, plan.peak_flops and plan.peak_flops * dist.get_world_size())
