"""The program's process, seen from its monitor: its input, its resource usage, and its end.

It cannot be trusted with its own clock, so its CPU time is read here.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.protocol import ASLEEP, DIED, PREFIX_BYTES, RETURNED, TIMEOUT, UNUSABLE

IDLE_FACTOR = 10.0
"""A call that waits instead of computing gets its budget this many times in seconds, as far as `Limits.idle_s` of its
program lasts."""
MIN_PATIENCE_S = 0.001


@dataclass(frozen=True)
class Outcome:
    """The outcome of one exchange: a reply if RETURNED, else the reason; CPU seconds of the process."""

    outcome: str
    error: str = ""
    cpu_s: float = 0.0
    reply: bytes = b""


class Child:
    """A process with a pipe for requests and one for replies.

    Args:
        pid: its id, which is no other's until its `end`.
        requests: descriptor to write.
        replies: descriptor to read.
        limits: the longest reply, and how long it may wait in all exchanges.
        end: ends it; its exit code (minus the signal, if one ended it) and all its CPU seconds.
    """

    def __init__(
        self, pid: int, requests: int, replies: int, limits: Limits, end: Callable[[], tuple[int, float]]
    ) -> None:
        self._pid, self._requests, self._replies, self._reply_bytes = pid, requests, replies, limits.reply_bytes
        self._idle_left_s = limits.idle_s
        self._end = cache(end)
        self._schedules = [_open_schedule(pid), _open_schedule(os.getpid())]
        os.set_blocking(requests, False)

    def exchange(self, request: bytes, cpu_s: float) -> Outcome:
        """Sends `request` and waits for one frame. Every outcome except RETURNED ends the process.

        Raises EOFError if the caller left in the meantime.
        """
        usage = _Usage(self._pid, self._schedules)
        patience_s = cpu_s
        max_idle_s = min(IDLE_FACTOR * cpu_s, self._idle_left_s)
        reply = bytearray()
        while True:
            try:
                request = self._move(request, reply, patience_s)
            except BrokenPipeError:
                return self._ended(DIED, "", usage)
            if len(reply) >= PREFIX_BYTES:
                length = int.from_bytes(reply[:PREFIX_BYTES], "big")
                if length > self._reply_bytes:
                    return self._ended(UNUSABLE, f"a reply of more than {self._reply_bytes} bytes", usage)
                if len(reply) - PREFIX_BYTES >= length:
                    self._idle_left_s -= max(0.0, usage.idle_s())
                    return Outcome(RETURNED, "", usage.cpu_s(), bytes(reply[PREFIX_BYTES : PREFIX_BYTES + length]))
            used_s, idle_s = usage.cpu_s(), usage.idle_s()
            if used_s >= cpu_s:
                return self._ended(TIMEOUT, f"more than {cpu_s:.3g} s of CPU time", usage)
            if idle_s >= max_idle_s:
                return self._ended(ASLEEP, f"waited for {idle_s:.3g} s", usage)
            patience_s = max(MIN_PATIENCE_S, min(cpu_s - used_s, max_idle_s - idle_s))

    def close(self) -> None:
        """Ends the process, and closes its pipes."""
        self._end()
        for descriptor in (self._requests, self._replies, *self._schedules):
            if descriptor is not None:
                os.close(descriptor)

    def _move(self, request: bytes, reply: bytearray, patience_s: float) -> bytes:
        """Sends as much as possible within `patience_s`; returns the rest."""
        sending = [self._requests] if request else []
        readable, writable, _ = select.select([self._replies, 0], sending, [], patience_s)
        if 0 in readable:  # the caller sends nothing while it waits
            raise EOFError("the caller left")
        if writable:
            request = request[os.write(self._requests, request) :]
        if self._replies in readable:
            part = os.read(self._replies, 1 << 20)
            if not part:
                raise BrokenPipeError
            reply += part
        return request

    def _ended(self, outcome: str, error: str, usage: "_Usage") -> Outcome:
        code, cpu_s = self._end()
        ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        return Outcome(outcome, error or ending, max(0.0, cpu_s - usage.before_s))


class _Usage:
    """CPU seconds and idle seconds of a process since now. Time in which the process, or this process that it waits
    for, was ready to run and waited for a processor counts as neither, so that a busy machine ends no program."""

    def __init__(self, pid: int, schedules: Sequence[int | None]) -> None:
        self._clock = (~pid << 3) | 2  # CPUCLOCK_SCHED of that process, as the kernel's posix-timers.h encodes it
        self._schedules = schedules
        self._began_s = time.monotonic()
        self.before_s = time.clock_gettime(self._clock)
        self._queued_before_s = self._queued_s()

    def cpu_s(self) -> float:
        return time.clock_gettime(self._clock) - self.before_s

    def idle_s(self) -> float:
        return time.monotonic() - self._began_s - self.cpu_s() - (self._queued_s() - self._queued_before_s)

    def _queued_s(self) -> float:
        schedules = [schedule for schedule in self._schedules if schedule is not None]
        return sum(int(os.pread(schedule, 100, 0).split()[1]) for schedule in schedules) / 1e9


def _open_schedule(pid: int) -> int | None:
    """The scheduler's statistics of a process (CPU time, time queued for a processor), if the kernel keeps them."""
    try:
        return os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)
    except OSError:
        return None
