"""Spread tasks over groups of processes."""

import queue
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from infra.budget import stop_if_asked
from infra.context import StageContext
from infra.groups.group import Group, Make, MemberLostError, StoppedWaitingError
from infra.progress.outcome import cause
from infra.resources import Demand

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_on_groups(
    make: Make[Task, Result],
    tasks: Sequence[Task],
    context: StageContext,
    *,
    num_groups: int,
    demand: Demand,
    deaths: int = 20,
) -> Iterator[tuple[int, Result]]:
    """Yield (index, worker(task)) for every task as it is finished; see `infra.groups.actors.map_on_actors`.

    A group has `demand.count` processes, each of which makes its worker once. All of them get each task of their group,
    and the first one's result counts. With `context.parallel` they run on Ray, and a group that the cluster has no room
    for holds nobody up; else one group runs as processes of this machine. If a process dies, its group is started
    again with a warning, up to `deaths` times in all. Raises CapacityError if no group gets room, and the error of a
    worker.
    """
    if not tasks:
        return
    pool = _Pool(partial(_new_group, make, context, demand), tasks, deaths)
    try:
        pool.start(min(num_groups, len(tasks)) if context.parallel else 1)
        for num_left in reversed(range(len(tasks))):
            yield pool.next_result(context.warn)
            stop_if_asked(context, num_left)
    finally:
        pool.close()


class _Pool:
    """A thread for each group, which hands it tasks one by one."""

    def __init__(self, new_group: Callable[[threading.Event], Group], tasks: Sequence[Any], deaths: int) -> None:
        self._new_group = new_group
        self._tasks = tasks
        self._waiting = deque(range(len(tasks)))
        self._deaths = deaths
        self._finished: queue.Queue[tuple[int, Any] | str | BaseException] = queue.Queue()
        self._is_stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, num_groups: int) -> None:
        self._threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(num_groups)]
        for thread in self._threads:
            thread.start()

    def next_result(self, warn: Callable[[str], None]) -> tuple[int, Any]:
        """Index and result of the task that ends next, after the warnings before it. Raises the error of a group."""
        while isinstance(finished := self._finished.get(), str):
            warn(finished)
        if isinstance(finished, BaseException):
            raise finished
        return finished

    def close(self) -> None:
        self._is_stopped.set()
        for thread in self._threads:
            thread.join()

    def _drive(self) -> None:
        """Start groups, one after the other as they die, until there is no task left."""
        while self._waiting and not self._is_stopped.is_set():
            try:
                self._serve()
            except StoppedWaitingError:
                return
            except MemberLostError as error:
                self._deaths -= 1
                if self._deaths < 0:
                    self._finished.put(error)
                    return
                first_line, *_ = str(cause(error)).split("\n")
                self._finished.put(f"{first_line}; the group starts again")
            except BaseException as error:
                self._finished.put(error)
                return

    def _serve(self) -> None:
        """Let one group work as long as there are tasks and it lives."""
        group = self._new_group(self._is_stopped)
        try:
            while (index := self._take()) is not None:
                try:
                    result = group.run(self._tasks[index], self._is_stopped)
                except BaseException:
                    self._waiting.appendleft(index)
                    raise
                self._finished.put((index, result))
        finally:
            group.close()

    def _take(self) -> int | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None


def _new_group(make: Make[Any, Any], context: StageContext, demand: Demand, is_stopped: threading.Event) -> Group:
    context.state.mkdir(parents=True, exist_ok=True)
    rendezvous = context.state / f".rendezvous-{secrets.token_hex(8)}"
    if context.parallel:
        from infra.groups.on_ray import RayGroup

        return RayGroup(make, rendezvous, demand, context, is_stopped)
    from infra.groups.local import LocalGroup

    return LocalGroup(make, rendezvous, demand)
