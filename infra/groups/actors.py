"""Spread tasks over actors that each hold something costly to make, such as a model on a GPU."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.resources import Demand
from infra.resources.capacity import Capacity, Wait

Task = TypeVar("Task")
Result = TypeVar("Result")
Worker = Callable[[Task], Result]

POLL_S = 1.0
"""Between two looks at the cluster while no actor answers."""
TASKS_AHEAD = 1
"""Tasks assigned to an actor beyond those that it works on, so that it never waits for the next."""


def map_on_actors(
    make: Callable[[], Worker[Task, Result]],
    tasks: Sequence[Task],
    context: StageContext,
    *,
    num_actors: int,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    preemptions: int = 20,
) -> Iterator[tuple[int, Result]]:
    """Yield (index, worker(task)) for every task as it is finished; each actor calls `make()` once for its worker.

    An actor with several CPUs and no GPU works on as many tasks at a time, each in a separate thread. All threads call
    the same worker, which exists once.

    Without `context.parallel`, or with one actor, in this process: the stage's own task holds the resources of one.
    Else on Ray: an actor that the cluster has no room for gets no task and delays no other; one that dies is replaced,
    up to `preemptions` times in all, and its tasks go to free actors. An exception of `make` or of a worker is raised
    here. Tasks are handed out in order. While no machine has room for an actor this waits and reports it. Raises
    CapacityError if the wait is in vain.
    """
    if not tasks:
        return
    demand = Demand(1, num_cpus, num_gpus)
    if context.parallel and num_actors > 1:
        yield from _on_cluster(make, tasks, context, min(num_actors, len(tasks)), demand, preemptions)
        return
    results = _in_threads(make(), tasks, demand.num_threads)
    with closing(results):
        for num_left, result in zip(reversed(range(len(tasks))), results, strict=True):
            yield result
            stop_if_asked(context, num_left)


def _in_threads(
    worker: Worker[Task, Result], tasks: Sequence[Task], num_threads: int
) -> Generator[tuple[int, Result], None, None]:
    """(index, result) of each task, as `map_on_actors`; one thread is this one, which an interrupt ends at once."""
    if num_threads == 1:
        yield from ((index, worker(task)) for index, task in enumerate(tasks))
        return
    finished: queue.SimpleQueue[tuple[int, Result] | BaseException] = queue.SimpleQueue()
    waiting, is_stopped = iter(range(len(tasks))), threading.Event()

    def work() -> None:
        try:
            while not is_stopped.is_set() and (index := next(waiting, None)) is not None:
                finished.put((index, worker(tasks[index])))
        except BaseException as error:
            finished.put(error)

    try:
        for _ in range(num_threads):
            threading.Thread(target=work, daemon=True).start()
        for _ in tasks:
            result = finished.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        is_stopped.set()


class _Actor:
    """Makes its worker in a call and not in the constructor, so that a fault keeps its own words."""

    def start(self, make: Callable[[], Worker[Any, Any]]) -> None:
        self._worker = make()

    def run(self, task: Any) -> Any:
        return self._worker(task)


class _ActorPool:
    """Actors and their current tasks. Ray itself restarts none: a restarted one would keep its tasks while it waits for
    room."""

    def __init__(self, make: Callable[[], Worker[Any, Any]], num_tasks: int, demand: Demand) -> None:
        import ray

        self._remote: Any = ray.remote(_Actor).options(
            num_cpus=demand.num_cpus,
            num_gpus=demand.num_gpus,
            max_concurrency=demand.num_threads,
            max_restarts=0,
        )
        self._num_slots = demand.num_threads + TASKS_AHEAD
        self._make = make
        self.waiting = list(reversed(range(num_tasks)))
        # By reference, the actor and its task, None while it starts; a started actor is listed once per free slot.
        self.running: dict[Any, tuple[Any, int | None]] = {}
        self._free_slots: dict[Any, int] = {}

    def start(self) -> None:
        actor = self._remote.remote()
        self.running[actor.start.remote(self._make)] = actor, None

    @property
    def is_waiting(self) -> bool:
        """Whether no actor has started."""
        return not self._free_slots

    def assign_tasks(self, tasks: Sequence[Any]) -> None:
        """Fill free slots, in order of the tasks."""
        for actor in [actor for actor, free_slots in self._free_slots.items() for _ in range(free_slots)][
            : len(self.waiting)
        ]:
            index = self.waiting.pop()
            self._free_slots[actor] -= 1
            self.running[actor.run.remote(tasks[index])] = actor, index

    def finished(self, actor: Any, index: int | None) -> None:
        self._free_slots[actor] = self._num_slots if index is None else self._free_slots[actor] + 1

    def died(self, actor: Any, index: int | None) -> None:
        """Take its tasks back, and start another."""
        references = [reference for reference, (owner, _) in self.running.items() if owner == actor]
        lost = [index, *(self.running.pop(reference)[1] for reference in references)]
        self.waiting += sorted((number for number in lost if number is not None), reverse=True)
        self._free_slots.pop(actor, None)
        self.start()

    def dismiss(self) -> None:
        import ray

        for actor in {owner for owner, _ in self.running.values()} | self._free_slots.keys():
            ray.kill(actor)


def _on_cluster(
    make: Callable[[], Worker[Task, Result]],
    tasks: Sequence[Task],
    context: StageContext,
    num_actors: int,
    demand: Demand,
    preemptions: int,
) -> Iterator[tuple[int, Result]]:
    import ray
    from ray.exceptions import RayActorError

    capacity = context.capacity or Capacity.look()
    capacity.require(f"a worker of {context.stage_id}", demand)
    wait = Wait(context.stage_id, demand, capacity, context.emit)
    pool = _ActorPool(make, len(tasks), demand)
    num_left = len(tasks)
    try:
        for _ in range(num_actors):
            pool.start()
        while num_left:
            if not (done := ray.wait(list(pool.running), timeout=POLL_S)[0]):
                if pool.is_waiting:
                    stop_if_asked(context, num_left)
                    # An actor that starts may take long to make its worker: that is no wait for a machine.
                    if not wait.fits():
                        wait.check()
                continue
            wait.restart()
            reference = done[0]
            actor, index = pool.running.pop(reference)
            try:
                result = ray.get(reference)
            except RayActorError:
                preemptions -= 1
                if preemptions < 0:
                    raise
                pool.died(actor, index)
                pool.assign_tasks(tasks)
                continue
            pool.finished(actor, index)
            pool.assign_tasks(tasks)
            if index is not None:
                num_left -= 1
                yield index, result
                stop_if_asked(context, num_left)
    finally:
        pool.dismiss()
