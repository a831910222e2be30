"""Worker time of a phase over all its attempts, with any number of workers and any outcome.

Worker 0 of each attempt keeps one small file up to date while it runs, so that an attempt that was killed is counted
up to its last second. Time between attempts, in which no worker exists, is not counted.

    <folder>/worker_time/<attempt>.json     up to the last beat, twice a second; no flush to disk delays a beat
    <folder>/worker_time/<attempt>.saved    up to the last checkpoint, on disk before it

After a power cut the first may be torn. The attempt is then counted up to its last checkpoint: its hours are a lower
bound.
"""

import json
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.store import write_durably
from pipelines.artifacts.checkpoint import WorkerHours

FOLDER = "worker_time"


class AttemptClock:
    """Seconds of one attempt with `num_workers` workers that started at `started` (`time.monotonic`)."""

    def __init__(self, folder: Path, num_workers: int, started: float) -> None:
        self._file = folder / FOLDER / f"{secrets.token_hex(8)}.json"
        self._started = started
        self._num_workers = num_workers
        self._steps_s = 0.0
        self._lock = threading.Lock()
        self._file.parent.mkdir(parents=True, exist_ok=True)

    def stepped(self, seconds: float) -> None:
        """A step took `seconds`."""
        self._steps_s += seconds

    def write(self) -> None:
        """Bring the file of beats up to now. Threads may call it at the same time."""
        with self._lock:
            partial = self._file.with_name(f".{self._file.name}")
            partial.write_text(self._record(), encoding="utf-8")
            partial.replace(self._file)

    def save(self) -> None:
        """Put the time up to now on disk."""
        write_durably(self._file.with_suffix(".saved"), self._record())

    def _record(self) -> str:
        elapsed = time.monotonic() - self._started
        return json.dumps({"num_workers": self._num_workers, "elapsed_s": elapsed, "steps_s": self._steps_s})


def worker_hours(folder: Path, records: Sequence[Mapping[str, Any]]) -> WorkerHours:
    """Sum the attempts recorded under `folder`; `records` are the steps that the last checkpoint holds."""
    attempts = _attempts(folder / FOLDER)
    total = math.fsum(each["num_workers"] * each["elapsed_s"] for each in attempts)
    taken = math.fsum(each["num_workers"] * each["steps_s"] for each in attempts)
    counted = math.fsum(record["num_workers"] * record["step_s"] for record in records)
    hours = [seconds / 3600 for seconds in (total, taken - counted, total - taken)]
    return WorkerHours(*(max(0.0, value) for value in hours))


def _attempts(folder: Path) -> list[Mapping[str, Any]]:
    """The longest readable record of each attempt."""
    longest: dict[str, Mapping[str, Any]] = {}
    for file in [*folder.glob("[!.]*.json"), *folder.glob("[!.]*.saved")]:
        # A power cut may leave a beat without its bytes.
        with suppress(ValueError):
            record = json.loads(file.read_text(encoding="utf-8"))
            if file.stem not in longest or record["elapsed_s"] > longest[file.stem]["elapsed_s"]:
                longest[file.stem] = record
    return list(longest.values())
