"""Train with as many workers as the cluster has room for: fewer after a node is lost, more when there is room again.

A step reads the same sequences for any number of workers, and a checkpoint is independent of it, so each group
continues from the checkpoint of the previous one. Groups differ in the order in which gradients are added up.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.context import StageContext
from infra.resources import Demand
from infra.resources.capacity import Pool, parts_of
from infra.resources.room import reserve
from pipelines.train.job import TrainJob, WorkerGroup

WORKER_DEATHS = 20
"""How often a group that lost a worker is followed by another, from the last checkpoint, before the stage fails."""
SETTLE_S = 10.0
"""How long a start waits for room for all workers: a group that ended gives its room back within seconds."""
POLL_S = 0.5


def train_elastically(
    job: TrainJob, context: StageContext, train: Callable[[int], None], await_fewest: Callable[[], None]
) -> None:
    """Run `train` with ever other numbers of workers until it reaches the end of the phase.

    Args:
        job: the phase; `job.group.counts` are the numbers of workers that it may have.
        context: of the stage.
        train: trains on this many workers to the end of the phase. An error of it that is not in `job.failure` is the
            loss of a worker, or the end of a group that makes room for a larger one.
        await_fewest: waits until the cluster has room for the fewest workers.

    Raises the error of `job.failure`, or the one of the last group if too many lost a worker.
    """
    num_lost, before = 0, job.group.num_workers
    while True:
        count = _await_room(job.group, await_fewest)
        if count != before:
            context.warn(_notice(count, before, job.group))
        before = count
        job.regroup.unlink(missing_ok=True)
        try:
            with _Growth(context.stage_id, job, count):
                train(count)
            return
        except Exception:
            if job.failure.exists():
                raise
            if not job.regroup.exists():
                num_lost += 1
                if num_lost > WORKER_DEATHS:
                    raise


def workers_that_fit(counts: Sequence[int], demand: Demand, free: Sequence[Pool]) -> int | None:
    """The largest of `counts` workers, each of which needs `demand`, on machines with so much left; None if not even
    the fewest fit."""
    room = sum(parts_of(demand, machine) for machine in free)
    return max((count for count in counts if count <= room), default=None)


def next_larger(counts: Sequence[int], count: int) -> int | None:
    """The number of workers to grow to from `count`; None for the largest."""
    return min((each for each in counts if each > count), default=None)


def free_machines() -> list[Pool]:
    """CPUs and GPUs that are left on each machine that stays part of the cluster."""
    import ray

    state: Any = ray._private.state
    leaving = state.state.get_draining_nodes()
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - set(leaving)
    left: Mapping[str, Mapping[str, float]] = state.available_resources_per_node()
    return [Pool(each.get("CPU", 0.0), each.get("GPU", 0.0), 1) for node, each in left.items() if node in alive]


def _await_room(group: WorkerGroup, await_fewest: Callable[[], None]) -> int:
    """The number of workers that there is room for, after a while in which there may be room for all."""
    demand, started = group.demand(1), time.monotonic()
    while True:
        count = workers_that_fit(group.counts, demand, free_machines())
        if count == group.num_workers:
            return count
        if time.monotonic() - started > SETTLE_S:
            if count is not None:
                return count
            await_fewest()
        time.sleep(POLL_S)


class _Growth:
    """While it is open, asks the cluster for the room that the next larger group needs in addition to this one, and
    once it has it asks this group to stop."""

    def __init__(self, owner: str, job: TrainJob, count: int) -> None:
        larger = next_larger(job.group.counts, count)
        self._owner = owner
        self._job, self._num_more = job, larger - count if larger else 0
        self._is_over = threading.Event()

    def __enter__(self) -> None:
        if self._num_more:
            self._room = reserve(self._owner, self._job.group.demand(self._num_more))
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._num_more:
            from ray.util import remove_placement_group

            self._is_over.set()
            self._thread.join()
            remove_placement_group(self._room)

    def _watch(self) -> None:
        while not self._is_over.is_set():
            if self._room.wait(POLL_S):
                self._job.regroup.touch()
                return


def _notice(count: int, before: int, group: WorkerGroup) -> str:
    if count < before:
        return (
            f"trains with {count} of train.num_workers = [{group.counts[0]}, {group.counts[-1]}] workers: the cluster "
            "has no room for more. More join at a checkpoint as soon as there is."
        )
    return f"there is room again: training goes on with {count} instead of {before} workers"
