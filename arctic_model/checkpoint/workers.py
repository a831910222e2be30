"""The workers that read or write a checkpoint together, on disks of any speed.

A collective that waits for a slow disk needs a long timeout; a collective that detects a dead worker needs a short one.
So no collective waits for a disk: while a thread of a worker reads or writes, the worker keeps answering the others.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from arctic_model.checkpoint.errors import CheckpointError

POLL_S = 0.5
"""Seconds between two answers of a worker that still reads or writes."""
RUNNING, DONE, FAILED = 0, 1, 2
T = TypeVar("T")


class PeerError(CheckpointError):
    """Another worker failed, for a reason in its own error."""


class StalledError(CheckpointError):
    """A disk made no progress for too long: another attempt may succeed."""


@dataclass
class Progress:
    """Time of the last read or write."""

    last: float = field(default_factory=time.monotonic)

    def update(self) -> None:
        """Note a read or write that ended now."""
        self.last = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.last


@dataclass(frozen=True)
class Workers:
    """The processes that read or write a checkpoint together.

    Args:
        rank: number of this process.
        size: number of processes.
        group: a process group on the CPU that nothing else uses meanwhile; None for one process.
        token: the same on all; separates the unfinished files of this attempt from those of a killed one.
        patience_s: a worker whose disk makes no progress for so long fails, unless it is alone.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    token: str = "alone"
    patience_s: float = 600.0

    def together(self, work: Callable[[Progress], T]) -> T:
        """Run `work`, which reports its progress, and return when all workers are done.

        Raises:
            PeerError: if the work of another worker failed. The failed worker raises its own error.
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
        raise PeerError(f"A checkpoint failed on workers {failed}, whose own errors have the reason.")

    def only_first(self, work: Callable[[], T]) -> T | None:
        """Run `work` on worker 0. The others wait for it without a timeout, and get None."""
        return self.together(lambda _: work() if self.rank == 0 else None)

    def sum(self, numbers: Tensor) -> Tensor:
        """Sum over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(numbers, group=self.group)
        return numbers

    def from_first(self, numbers: Tensor) -> Tensor:
        """Copy worker 0's tensor to all workers, in place; all have the same shape."""
        if self.size > 1:
            dist.broadcast(numbers, src=0, group=self.group)
        return numbers


ALONE = Workers()
"""One process."""


class _Task(Generic[T]):
    """Work in a daemon thread: the process can exit without it."""

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
