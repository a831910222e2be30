"""The work of one worker: the same in an actor and in a local process."""

import os
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import Retention
from arctic_model.checkpoint.workers import PeerError, StalledError
from arctic_model.kernels.precision import cpu_multiplies_bfloat16
from arctic_model.moe.balance import CROWDED, STARVED, Imbalance
from arctic_model.sizing.step_time import gpu_named
from arctic_model.training.first_weights import InitialWeights
from arctic_model.training.history import Record
from arctic_model.training.loop import Batches, InterruptedTrainingError, Observer, TrainingError, train
from arctic_model.training.losses.objective import Batch
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.process import join_group
from infra.budget import StoppedError
from infra.context import StageContext
from infra.groups.group import Member
from infra.store.integrity import committed_folder, damage
from pipelines.artifacts.checkpoint import OF_PAIRS, ROUTER_COLUMNS
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.train.amending import amendment, amendments_of
from pipelines.train.data import PhaseBatches, Prefetched, heldout_pairs
from pipelines.train.job import Segment, TokenCounts, TrainJob, require_gpus
from pipelines.train.workers.attempts import AttemptClock
from pipelines.train.workers.environment import set_environment
from pipelines.train.workers.failure import write_failure
from pipelines.train.workers.heartbeat import Heartbeat, WorkerLostError
from pipelines.train.workers.out_of_memory import OutOfMemoryError, explained, is_out_of_memory
from pipelines.train.workers.stopping import StopRequest

PROGRESS_S = 1.0
POINTS_S = 2.0
"""Between two messages with the metrics of new steps."""
LOST_PEER = re.compile("gloo|nccl|connection|socket|timed out", re.IGNORECASE)
"""How torch's collectives word it: they raise RuntimeError, or a subclass of it, with the transport's own text."""
PASSING = (WorkerLostError, PeerError, StalledError)
"""Errors that another attempt may not meet again, or of which another worker writes down the cause."""
GROUPS = {
    "train": (
        *("loss", "gradient_norm", "learning_rate", "skipped", "num_workers"),
        *("tokens_per_s", "mfu", "peak_memory_bytes"),
        *("step_s", "data_s", "forward_s", "backward_s", "optimizer_s", "exposed_comm_s"),
        *("comm_hidden_frac", "comm_wire_s", "comm_skew_s"),
    ),
    "preference": OF_PAIRS,
    "router": (
        *("balance_loss", "z_loss", "max_expert_load", *ROUTER_COLUMNS),
        *("starved_experts", "crowded_experts"),
    ),
}
"""The history's columns as metrics; the step is their axis. Not every step has every one."""
BY_CORPUS = {"loss_by_corpus": "train/loss_", "tokens_by_corpus": "train/tokens_"}


def work(job: TrainJob, context: StageContext, started: float) -> None:
    """Train as one worker of the default process group, whose time is counted from `started` on (`time.monotonic`).

    An error that another attempt would meet again is written down, and the next attempt ends at once. The error of a
    collective whose peer died is not: that is worth a restart.
    """
    if job.failure.exists():
        return
    torch.set_num_threads(job.group.threads_per_worker)
    rank, world = dist.get_rank(), dist.get_world_size()
    clock = AttemptClock(job.folder, world, started)
    with Heartbeat(job.folder / "heartbeats", rank, world, None if rank else clock.write) as heartbeat:
        try:
            require_gpus(job)
            if rank == 0 and (notice := slow_products(job)):
                context.warn(notice)
            with (
                Prefetched(PhaseBatches(job, rank, world), job.last_step) as batches,
                closing(ContextObserver(job, context, clock)) as observer,
                StopRequest(context, rank, job.regroup) as stop,
            ):
                heldout = heldout_pairs(job, rank, world) if job.trains_pairs else []
                _train_segments(job, world, _with_turns(batches, heartbeat), observer, stop, heldout)
        except InterruptedTrainingError as interrupted:
            if reason := context.stop_reason():
                stopped = StoppedError(reason)
                write_failure(job.failure, stopped)
                raise stopped from interrupted
            if job.regroup.exists():
                raise
            raise WorkerLostError(f"a worker's machine is about to leave: {interrupted}, with a checkpoint") from None
        except Exception as error:
            reported = _reported(error, job, heartbeat)
            if not isinstance(reported, PASSING):
                write_failure(job.failure, reported)
            if reported is error:
                raise
            raise reported from error


def slow_products(job: TrainJob) -> str | None:
    """A warning if this machine multiplies in the dtype of the job much slower than it could, with its remedy."""
    is_narrow = any(segment.optimization.dtype == "bfloat16" for segment in job.segments)
    if job.group.gpus_per_worker or not is_narrow or cpu_multiplies_bfloat16():
        return None
    return (
        'train.dtype = "bfloat16", for which this processor has no instructions: a step takes many times as long as in '
        'float32. Set train.dtype = "float32", or train on a GPU.'
    )


def _train_segments(
    job: TrainJob, world: int, batches: Batches, observer: Observer, stop: StopRequest, heldout: Sequence[Batch]
) -> None:
    """Train segment after segment, each from the checkpoint of the previous one. A process that does not know yet how
    far earlier attempts came learns it from the first checkpoint that it finds."""
    step = job.first_step
    while step < job.last_step:
        step = train(training_plan(job, job.after(step), world), batches, observer, stop, heldout)


def _with_turns(batches: Batches, heartbeat: Heartbeat) -> Batches:
    """`batches`, each of which beats `heartbeat`: the loop asks for a step's while it takes the previous one."""

    def counted_batches(step: int) -> list[Batch]:
        heartbeat.turn(f"reading for step {step}")
        step_batches = batches(step)
        heartbeat.turn(f"in step {step - 1}")
        return step_batches

    return counted_batches


def _reported(error: Exception, job: TrainJob, heartbeat: Heartbeat) -> Exception:
    """`error`, or a replacement with a remedy for the user."""
    if is_out_of_memory(error):
        return OutOfMemoryError(explained(error, job, dist.get_world_size()))
    if isinstance(error, RuntimeError) and LOST_PEER.search(str(error)):
        return WorkerLostError(
            f"{heartbeat.missing()}. Worker {dist.get_rank()} waited for up to train.collective_timeout_s = "
            f"{job.group.collective_timeout_s:g} and stopped; run again to continue from the last checkpoint. Error of "
            f"torch: {str(error).splitlines()[0]}"
        )
    if isinstance(error, TrainingError):
        return TrainingError(f"{error} {amendments_of(job)}")
    if isinstance(error, CheckpointError) and error.damaged and committed_folder(error.damaged):
        # The result of the phase before: there is no checkpoint before it to use.
        return damage(error.damaged)
    return error


def training_plan(job: TrainJob, segment: Segment, num_workers: int) -> TrainingPlan:
    """A segment of the job in the words of the loop."""
    settings, policy = segment.optimization, job.checkpoints
    return TrainingPlan(
        config=replace(job.config, router_bias=True) if settings.balance_bias_rate else job.config,
        optimization=settings,
        schedule=segment.schedule,
        first_step=segment.first_step,
        last_step=segment.last_step,
        sequence_length=job.sequence_length,
        tokens_per_step=segment.global_batch_sequences * job.sequence_length,
        num_micro_batches=segment.num_passes(num_workers, job.group.context_parallel_size),
        checkpoint_every_steps=job.checkpoints.every_steps,
        expert_parallel_size=job.group.expert_parallel_size,
        context_parallel_size=job.group.context_parallel_size,
        folder=job.folder,
        start_from=job.start_from,
        initial=InitialWeights(job.weights_from, job.with_optimizer, settings.seed) if job.weights_from else None,
        retention=Retention(policy.keep_last, policy.keep_best, policy.keep_every, policy.keep_weights_every),
        corpora=tuple(share.corpus for share in PhasePlan.read(segment.mix).shares),
        peak_flops=_peak_flops(job, segment),
        traced=_steps(job.profile_steps),
        collective_timeout_s=job.group.collective_timeout_s,
        spikes=segment.spikes,
        first_tokens=segment.first_tokens,
    )


def _peak_flops(job: TrainJob, segment: Segment) -> float | None:
    """As the recipe states it, else as the data sheet of this GPU does; a CPU's is nobody's guess."""
    if job.peak_tflops is not None:
        return job.peak_tflops * 1e12
    gpu = gpu_named(torch.cuda.get_device_name()) if job.group.gpus_per_worker else None
    return gpu.peak_flops(segment.optimization.dtype) if gpu else None


def _steps(span: str) -> tuple[int, int] | None:
    """First and last of "10:13"."""
    if not span:
        return None
    first, last = map(int, span.split(":"))
    return first, last


class ContextObserver:
    """Passes progress and metrics on to the observer of the stage; `close` sends the pending metrics.

    A process sends each step once. A worker that continues after a kill sends again the points in its checkpoint, and
    the following steps as it takes them: the receiver identifies points by their steps.
    """

    def __init__(self, job: TrainJob, context: StageContext, clock: AttemptClock) -> None:
        self._clock = clock
        self._job = job
        self._context = context
        self._counts = TokenCounts(job)
        self._sent_step = job.first_step
        self._progress_at = 0.0
        self._sent_at = time.monotonic()
        self._waiting: list[Record] = []
        self._is_unbalanced = False

    def stepped(self, step: int, seconds: float) -> None:
        self._clock.stepped(seconds)
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_S or step == self._job.last_step:
            self._progress_at = now
            first = self._job.tokens_at(self._job.first_step)
            self._context.progress(self._job.tokens_at(step) - first, self._job.num_tokens, "tokens")

    def recorded(self, records: Sequence[Record]) -> None:
        new = [record for record in records if record["step"] > self._sent_step]
        self._waiting += new
        self._sent_step = new[-1]["step"] if new else self._sent_step
        if time.monotonic() - self._sent_at >= POINTS_S:
            self.close()
        for record in new:
            if "imbalance" in record:
                self._warn_of_imbalance(record)

    def saving(self) -> None:
        # The time of a step is on disk before its checkpoint is: a kill right after the commit leaves none out.
        self._clock.save()

    def close(self) -> None:
        if self._waiting:
            self._context.log_metrics([(int(record["step"]), self._metrics(record)) for record in self._waiting])
        self._waiting, self._sent_at = [], time.monotonic()

    def traced(self, file: Path) -> None:
        self._context.log_file(file)
        self._context.warn(f"the profiler's trace is {file}: open it at ui.perfetto.dev or chrome://tracing")

    def _warn_of_imbalance(self, record: Record) -> None:
        """Once, until the load has been even again."""
        imbalance = Imbalance(**record["imbalance"])
        is_unbalanced = bool(imbalance.starved or imbalance.crowded)
        if is_unbalanced and not self._is_unbalanced:
            self._context.warn(imbalance_warning(int(record["step"]), imbalance, self._job))
        self._is_unbalanced = is_unbalanced

    def _metrics(self, record: Record) -> dict[str, float]:
        values = self._counts.added_to(record)
        columns = ((group, name) for group, names in GROUPS.items() for name in names if name in values)
        metrics = {f"{group}/{name}": values[name] for group, name in columns}
        for column, prefix in BY_CORPUS.items():
            metrics |= {f"{prefix}{corpus}": value for corpus, value in values[column].items()}
        return metrics


def imbalance_warning(step: int, imbalance: Imbalance, job: TrainJob) -> str:
    """A warning about the experts' load up to `step`, with its remedy."""
    layers = job.config.moe_layers
    (least, *dull), (greatest, *busy) = imbalance.least, imbalance.greatest
    settings = job.segment(step).optimization
    rate, coefficient = settings.balance_bias_rate, settings.balance_loss_coefficient
    bias = f"raise train.balance_bias_rate = {rate:g}" if rate else "set train.balance_bias_rate = 0.001"
    return (
        f"step {step}: the router is out of balance. Of {len(layers) * job.config.num_experts} experts "
        f"{imbalance.starved} have less than {STARVED:g} of an even share and {imbalance.crowded} more than "
        f"{CROWDED:g} times it (least {least:.2f} in layer {layers[dull[0]]}, expert {dull[1]}; most {greatest:.2f} in "
        f"layer {layers[busy[0]]}, expert {busy[1]}). If it lasts, raise "
        f"train.balance_loss_coefficient = {coefficient:g}, or {bias}."
        + ("\n" + amendment(step, balance_loss_coefficient=2 * coefficient or 0.01) if job.can_be_amended else "")
    )


def local_worker(rank: int, job: TrainJob, context: StageContext, rendezvous: Path) -> None:
    """Entry of a local process; `rendezvous` is a file that does not exist yet."""
    work_in_group(job, context, Member(rank, job.group.num_workers, rendezvous))


def work_in_group(job: TrainJob, context: StageContext, member: Member) -> None:
    """Join the other members, and work."""
    started = time.monotonic()
    set_environment(job.group)
    # Each worker sees its own GPU alone, as number 0.
    os.environ["LOCAL_RANK"] = "0"
    limit, rendezvous = job.group.collective_timeout_s, str(member.rendezvous)
    join_group(job.group.backend, rendezvous, member.rank, member.size, limit, one_machine=member.one_machine)
    try:
        work(job, context, started)
    finally:
        dist.destroy_process_group()
