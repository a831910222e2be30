"""Start the workers of a phase: one in the stage's own process, several on the cluster with Ray Train or as processes
of this machine."""

import os
import secrets
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from infra.context import Event, StageContext
from infra.resources.capacity import Capacity
from infra.resources.room import await_room
from pipelines.train.job import TrainJob
from pipelines.train.workers.elastic import WORKER_DEATHS, train_elastically
from pipelines.train.workers.environment import set_environment
from pipelines.train.workers.failure import raise_failure
from pipelines.train.workers.heartbeat import WorkerLostError
from pipelines.train.workers.stopping import is_drained, leave

POLL_S = 0.2
RAY_TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_S),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""Seconds of every phase: Ray Train polls its workers each 2 s by default, counts the metrics that MLflow gets anyway,
and starts one more process that warns of preemptions; our workers poll for them themselves
(`pipelines.train.workers.stopping`)."""


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
    os.environ.update(RAY_TRAIN_SETTINGS)
    group = job.group
    capacity = context.capacity or Capacity.look()
    await_fewest = partial(await_room, context.stage_id, group.demand(group.counts[0]), capacity, context.emit)
    if group.fewer:
        train_elastically(job, context, partial(_fit, job, context, 0), await_fewest)
    else:
        await_fewest()
        _fit(job, context, WORKER_DEATHS, group.num_workers)


def _fit(job: TrainJob, context: StageContext, max_failures: int, num_workers: int) -> None:
    """Train on a group of this many workers, which is started again up to `max_failures` times when it loses one."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    group = job.group
    trainer = _trainer_without_datasets()(
        _ray_train_worker,
        train_loop_config={"job": job, "context": context},
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=group.gpus_per_worker > 0,
            resources_per_worker=group.demand(1).bundle,
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(job.folder / "ray"),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    try:
        trainer.fit()
    finally:
        raise_failure(job.failure)


def _trainer_without_datasets() -> Any:
    """Ray's trainer, less the process that hands out Ray datasets: seconds of every phase for nothing here."""
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class Trainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if not isinstance(each, DatasetsCallback)]

    return Trainer


def _ray_train_worker(arguments: dict[str, Any]) -> None:
    """One worker of the group that Ray has placed."""
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    # Imported here: Ray's controller reads this module too, and needs no torch.
    from pipelines.train.workers.worker import work_in_group

    job: TrainJob = arguments["job"]
    here = get_context()
    rank, world = here.get_world_rank(), here.get_world_size()
    # A group that starts again meets at another file.
    rendezvous = job.folder / f"rendezvous-{broadcast_from_rank_zero(secrets.token_hex(8))}"
    one_machine = here.get_local_world_size() == world
    work_in_group(job, arguments["context"], rank, world, str(rendezvous), one_machine=one_machine)


def _in_this_process(job: TrainJob, context: StageContext) -> None:
    """A group of one needs no rendezvous, nor the seconds and gigabytes of Ray Train's helpers: the stage's own task
    has the resources (see `pipelines.train.stage`), and is started again by the runner if it dies."""
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
            args=(job, remote, str(Path(folder) / "rendezvous")),
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
