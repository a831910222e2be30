"""Start the workers of a phase: one in the stage's own process, several as actors on a cluster or as processes of this
machine."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from infra.context import Event, StageContext
from infra.groups.group import Member, MemberLostError
from infra.groups.mapping import map_on_groups
from infra.resources.capacity import Capacity
from infra.resources.room import await_room
from pipelines.train.job import TrainJob
from pipelines.train.workers.elastic import WORKER_DEATHS, train_elastically
from pipelines.train.workers.environment import set_environment
from pipelines.train.workers.failure import raise_failure
from pipelines.train.workers.heartbeat import WorkerLostError
from pipelines.train.workers.stopping import is_drained, leave

POLL_S = 0.2


def launch(job: TrainJob, context: StageContext) -> None:
    """Train the phase to its last checkpoint. Raises the error that ended a worker."""
    job.failure.unlink(missing_ok=True)
    if job.group.num_workers == 1:
        _in_this_process(job, context)
    elif context.parallel:
        _on_cluster(job, context)
    else:
        _in_local_processes(job, context)


def _on_cluster(job: TrainJob, context: StageContext) -> None:
    group = job.group
    if group.fewer:
        capacity = context.capacity or Capacity.look()
        await_fewest = partial(await_room, context.stage_id, group.demand(group.counts[0]), capacity, context.emit)
        train_elastically(job, context, partial(_in_group, job, context, 0), await_fewest)
    else:
        _in_group(job, context, WORKER_DEATHS, group.num_workers)


def _in_group(job: TrainJob, context: StageContext, deaths: int, num_workers: int) -> None:
    """Train on a group of this many workers, which is started again up to `deaths` times when it loses one."""
    demand = job.group.demand(num_workers)
    try:
        list(map_on_groups(partial(_member, job, context), [None], context, num_groups=1, demand=demand, deaths=deaths))
    finally:
        raise_failure(job.failure)


def _member(job: TrainJob, context: StageContext, member: Member) -> Callable[[None], None]:
    """The work of one process of a group. An error that nobody wrote down is worth another attempt."""
    from pipelines.train.workers.worker import work_in_group

    def work(_: None) -> None:
        try:
            work_in_group(job, context, member)
        except Exception as error:
            if job.failure.exists() or job.regroup.exists():
                raise
            raise MemberLostError(f"{type(error).__name__}: {error}") from error

    return work


def _in_this_process(job: TrainJob, context: StageContext) -> None:
    """A group of one needs no rendezvous and no other process: the stage's own task has the resources (see
    `pipelines.train.stage`), and is started again by the runner if it dies."""
    import torch.distributed as dist

    from arctic_model.training.environment import environment
    from pipelines.train.workers.worker import work

    started = time.monotonic()
    set_environment(job.group)
    dist.init_process_group(job.group.backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        # Ray shows the task its own GPU alone, as number 0.
        with environment(LOCAL_RANK="0"):
            work(job, context, started)
    except WorkerLostError:
        if is_drained():
            leave()
        raise
    finally:
        dist.destroy_process_group()


def _in_local_processes(job: TrainJob, context: StageContext) -> None:
    import torch.multiprocessing as multiprocessing

    from pipelines.train.workers.worker import local_worker

    spawning = multiprocessing.get_context("spawn")
    events: Any = spawning.SimpleQueue()
    remote = StageContext(context.stage_id, context.out, context.state, _Sender(events))
    with tempfile.TemporaryDirectory() as folder:
        group = multiprocessing.start_processes(
            local_worker,
            args=(job, remote, Path(folder) / "rendezvous"),
            nprocs=job.group.num_workers,
            join=False,
            start_method="spawn",
        )
        try:
            while not group.join(timeout=POLL_S):
                _forward(events, context)
        finally:
            _forward(events, context)
            raise_failure(job.failure)


class _Sender:
    """An `emit` that can be sent to another process."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __call__(self, event: Event) -> None:
        self._events.put(event)


def _forward(events: Any, context: StageContext) -> None:
    while not events.empty():
        context.emit(events.get())
