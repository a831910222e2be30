"""The workers that read or write a checkpoint together, however slow the disk of one of them is.

A collective that waits for a slow disk would need a limit longer than any disk is slow, and one that finds a dead
worker needs a short limit. So no collective waits for a disk: while a thread of a worker reads or writes, the worker
goes on answering the others.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_errors import ArcticError

POLL_S = 0.5
"""Between two answers of a worker that still reads or writes."""
RUNNING, DONE, FAILED = 0, 1, 2
T = TypeVar("T")


class CheckpointError(ArcticError, RuntimeError):
    """A checkpoint cannot be used or written: the message names the file and the mend.

    `damaged` is the file that is not as it was written, if that is the reason.
    """

    def __init__(self, message: str, damaged: Path | None = None) -> None:
        super().__init__(message)
        self.damaged = damaged


class PeerError(CheckpointError):
    """Another worker failed, and its own error says why."""


class StalledError(CheckpointError):
    """A disk does not move any more: another attempt may do better."""


@dataclass
class Progress:
    """When something was last read or written."""

    last: float = field(default_factory=time.monotonic)

    def moved(self) -> None:
        """Something was read or written just now."""
        self.last = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self.last


@dataclass(frozen=True)
class Workers:
    """Who reads and writes together. `group` is a process group on the CPU that nothing else uses at the time; one
    process alone needs none. `token`, the same for all, tells this attempt's unfinished files from a killed one's.
    A worker of several whose disk does not move for `patience_s` fails."""

    rank: int = 0
    size: int = 1
    group: Any = None
    token: str = "alone"
    patience_s: float = 600.0

    def together(self, work: Callable[[Progress], T]) -> T:
        """Do `work`, which reports its progress, and return when all workers have done theirs.

        If it failed on one, all raise: that one its own error, the others PeerError.
        """
        if self.size == 1:
            return work(Progress())
        task = _Task(work)
        state, states = RUNNING, [RUNNING]
        while RUNNING in states:
            if state == RUNNING:
                state = task.state(POLL_S, self.patience_s)
            states = self.sum(state * torch.eye(self.size, dtype=torch.int64)[self.rank]).tolist()
        if FAILED not in states:
            return task.result()
        if state == FAILED:
            raise task.error or StalledError(
                f"worker {self.rank}: nothing was read or written for train.collective_timeout_s = "
                f"{self.patience_s:g}. Look at the disk of the store, or raise the limit."
            )
        failed = [rank for rank, each in enumerate(states) if each == FAILED]
        raise PeerError(f"A checkpoint failed on workers {failed}, whose own errors say why.")

    def only_first(self, work: Callable[[], T]) -> T | None:
        """Let worker 0 do `work`; the others, which get None, wait for it however long it takes."""
        return self.together(lambda _: work() if self.rank == 0 else None)

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(numbers, group=self.group)
        return numbers

    def from_first(self, numbers: Tensor) -> Tensor:
        """Worker 0's, in place; all have tensors of one shape."""
        if self.size > 1:
            dist.broadcast(numbers, src=0, group=self.group)
        return numbers


ALONE = Workers()
"""One process."""


class _Task(Generic[T]):
    """Work in a thread that the process does not wait for at its end."""

    def __init__(self, work: Callable[[Progress], T]) -> None:
        self._work = work
        self._progress = Progress()
        self._results: list[T] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint files", daemon=True)
        self._thread.start()

    def state(self, timeout_s: float, patience_s: float) -> int:
        """RUNNING, DONE or FAILED after at most `timeout_s`; no progress for `patience_s` is a failure."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return FAILED if self._progress.idle_s > patience_s else RUNNING
        return DONE if self.error is None else FAILED

    def result(self) -> T:
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._progress))
        except Exception as error:
            self.error = error
