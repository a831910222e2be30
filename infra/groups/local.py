"""A group of processes of this machine, see `infra.groups.group`."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from itertools import takewhile
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from infra.groups.group import LAST_WORDS_S, POLL_S, Make, Member, MemberLostError, StoppedWaitingError
from infra.resources import Demand
from infra.resources.capacity import CapacityError


class LocalGroup:
    """Starts `demand.count` processes, each with a separate GPU if `demand` has any. Raises CapacityError if fewer GPUs
    are visible."""

    def __init__(self, make: Make[Any, Any], rendezvous: Path, demand: Demand) -> None:
        gpus = _visible_gpus(demand.count) if demand.num_gpus else [None] * demand.count
        spawning = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for rank, gpu in enumerate(gpus):
            ours, theirs = spawning.Pipe()
            member = Member(rank, demand.count, rendezvous)
            process = spawning.Process(target=_work, args=(make, member, theirs, gpu), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def run(self, task: Any, is_stopped: threading.Event) -> Any:
        """See `infra.groups.group.Group`."""
        for connection in self._connections:
            try:
                connection.send(task)
            except OSError as error:
                raise MemberLostError("a process of the group died between two tasks") from error
        answers: dict[int, Any] = {}
        while len(answers) < len(self._connections):
            if is_stopped.is_set():
                raise StoppedWaitingError
            waiting = [each for rank, each in enumerate(self._connections) if rank not in answers]
            ready = wait(waiting, timeout=POLL_S)
            for rank, connection in enumerate(self._connections):
                if connection in ready:
                    answers[rank] = self._received(connection)
        return answers[0]

    def _received(self, connection: Connection) -> Any:
        try:
            result, error = connection.recv()
        except (EOFError, ConnectionError) as lost:
            raise MemberLostError("a process of the group died") from lost
        if error is not None:
            if wait([process.sentinel for process in self._processes], timeout=LAST_WORDS_S):
                raise MemberLostError("a process of the group died") from error
            raise error
        return result

    def close(self) -> None:
        """See `infra.groups.group.Group`."""
        for process in self._processes:
            process.kill()
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.join()
            connection.close()


def _visible_gpus(count: int) -> Sequence[str]:
    """A GPU for each of `count` processes, by the names that CUDA_VISIBLE_DEVICES has for them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    # As CUDA reads it: -1 and an empty name end the list.
    names = list(takewhile(lambda name: name not in ("", "-1"), map(str.strip, visible.split(","))))
    if len(names) < count:
        raise CapacityError(
            f"CUDA_VISIBLE_DEVICES = {visible!r}: it shows {len(names)} GPUs, and a group takes {count}, one for each "
            "process. Show more, or lower the processes of a group."
        )
    return names[:count]


def _work(make: Make[Any, Any], member: Member, connection: Connection, gpu: str | None) -> None:
    """The loop of a process, which sees `gpu` alone if there is one, until no more tasks are sent."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    worker = None
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            worker = worker or make(member)
            result = worker(task)
            connection.send((result if member.rank == 0 else None, None))
        except Exception as error:
            connection.send((None, error))
