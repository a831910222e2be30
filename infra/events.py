"""The event log of a run: its events, in order, in one file that the driver alone writes.

The live table, MLflow and the next run read it. Workers reach it through a channel, an actor that holds events
until the driver takes them.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.context import Event
from infra.host.masking import masked_plain
from infra.store import StoreError, disk_full
from infra.store.locks import try_lock

EVENTS = "events.jsonl"
RUN_ID_VARIABLE = "ARCTIC_RUN_ID"
"""Names the next run of a process: a job's run has the name that `arctic submit` printed."""
LIVE_ONLY = frozenset({"connecting", "progress", "waiting"})
"""Events for live observers only; they are not stored."""


class HeldError(StoreError):
    """Another process writes this event log: its run goes on."""


class EventLog:
    """`runs/<run id>/events.jsonl`: one JSON object a line, stamped with Unix seconds.

    Locked until it is closed or its process ends, so that others see which runs go on. Raises HeldError.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = (folder / EVENTS).open("ab", buffering=0)
        if not try_lock(self._file, folder / EVENTS):
            self._file.close()
            raise HeldError(f"{folder / EVENTS}: another process writes it. Wait for the end of that run.")

    def append(self, event: Event) -> Event:
        """Write an event so that it survives this process, without credentials in URLs; returns it with its time.
        Raises StoreError if the disk is full."""
        stamped = {"time": time.time(), **masked_plain(event)}
        if event["event"] not in LIVE_ONLY:
            self._write((json.dumps(stamped, ensure_ascii=False) + "\n").encode())
        return stamped

    def _write(self, line: bytes) -> None:
        """A whole line or none: half of one would run into the next."""
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file.fileno(), line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)
            if full := disk_full(error, self.folder.parents[1], "writing the event log"):
                raise full from None
            raise

    def close(self) -> None:
        self._file.close()


def read_events(folder: Path) -> Iterator[Event]:
    """Events of a run in order; a last line that a kill cut short is left out."""
    with (folder / EVENTS).open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def whole_lines(log: bytes) -> list[bytes]:
    """Lines of a log; the last that a kill cut short is left out. In a text there are other ends of lines as well."""
    return [line for line in log.splitlines(keepends=True) if line.endswith(b"\n")]


class _Buffer:
    """The actor's body: holds events until the driver takes them."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken


class Channel:
    """Carries events from any worker of the cluster to the driver; a copy of it may be sent anywhere."""

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On the driver's machine: elsewhere it would end with a machine that leaves, and the run with it.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_concurrency": 1, "scheduling_strategy": here}
        self._buffer: Any = ray.remote(_Buffer).options(**options).remote()

    def __call__(self, event: Event) -> None:
        """Send one event. All but live ones are delivered when this returns, so none is lost with its sender."""
        import ray

        sent = self._buffer.put.remote(event)
        if event["event"] not in LIVE_ONLY:
            ray.get(sent)

    def take(self) -> list[Event]:
        """Events since the last call, in order of arrival."""
        import ray

        taken: list[Event] = ray.get(self._buffer.take.remote())
        return taken
