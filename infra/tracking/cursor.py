"""The position in the event log of each run of a store up to which MLflow has it."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arctic_errors import UserError
from infra.context import Event
from infra.events import EVENTS, EventLog, HeldError, whole_lines
from infra.host.masking import masked
from infra.store import write_durably
from infra.store.locks import locked
from infra.tracking.database import LOCK, artifact_root, make_database, tracking_uri
from infra.tracking.shapes import batches

if TYPE_CHECKING:
    from infra.tracking.projection import Projection

CURSOR = "tracking.json"
CURSOR_LOCK = "tracking.lock"
LINES_PER_SAVE = 1000
BLOCK_BYTES = 2**16


class TrackingError(UserError, RuntimeError):
    """MLflow cannot be served: the message contains the reason and the remedy."""


def reconcile(store_root: Path) -> list[str]:
    """Close the event logs of runs whose driver was killed, and return their ids."""
    return [folder.name for folder in _runs(store_root) if _close(folder)]


def _close(folder: Path) -> bool:
    """Whether the log lacked its end, and nobody was writing it."""
    if _last(folder)["event"] == "run_finished":
        return False
    try:
        log = EventLog(folder)
    except HeldError:
        return False
    with closing(log):
        lines = _complete_lines(folder / EVENTS)
        first, last = json.loads(lines[0]), json.loads(lines[-1])
        # The run may have ended, or another process may have closed its log, since the look above.
        if last["event"] == "run_finished":
            return False
        os.truncate(folder / EVENTS, sum(map(len, lines)))
        seconds = round(last["time"] - first["time"], 3)
        log.append({"event": "run_finished", "status": "killed", "seconds": seconds, "time": last["time"]})
    return True


def _last(folder: Path) -> Event:
    event: Event = json.loads(_last_line(folder / EVENTS))
    return event


def catch_up(store_root: Path) -> None:
    """Send the missing events of every run to MLflow. Raises TrackingError."""
    failures = []
    for folder in _runs(store_root):
        try:
            Cursor(store_root, folder).advance()
        except Exception as error:
            failures.append(f"{folder.name}: {error}")
    if failures:
        raise TrackingError("; ".join(failures[:3]))


class Cursor:
    """The position in a run's log up to which MLflow has it: `tracking.json` in the run's folder, bound to one tracking
    URI. Any process may advance it, one at a time."""

    def __init__(self, store_root: Path, folder: Path) -> None:
        self._root = store_root
        self._folder = folder
        self._state: dict[str, Any] | None = None
        self._projection: Projection | None = None

    @property
    def parent(self) -> str | None:
        """MLflow's id of the whole run; None before it has a row."""
        runs: dict[str, str] = self._load()["runs"]
        return runs.get("")

    def advance(self) -> None:
        """Send the complete lines after the cursor and move it. After an error it does not move."""
        with locked(self._folder / CURSOR_LOCK, lambda _holder, _seconds: None):
            self._advance()

    def _advance(self) -> None:
        saved = self._load()
        if self._state != saved:
            # Another process moved the cursor, or this is the first call.
            self._state, self._projection = saved, None
        state = self._state
        try:
            for events, offset in self._pending(state["offset"]):
                projection = self._projection = self._projection or self._open(state)
                for event in events:
                    projection.apply(event)
                projection.flush()
                state |= {"offset": offset, "experiment_id": projection.experiment_id}
                write_durably(self._folder / CURSOR, json.dumps(state, indent=1))
        except Exception:
            # Events that were sent beyond the cursor are sent again, from the state that was saved.
            self._state = self._projection = None
            raise

    def _load(self) -> dict[str, Any]:
        # The same server with other credentials is the same server, and a store holds none.
        uri = masked(tracking_uri(self._root))
        path = self._folder / CURSOR
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if state["uri"] == uri:
                return {"curves": {}, **state}
        return {"uri": uri, "offset": 0, "runs": {}, "curves": {}}

    def _pending(self, offset: int) -> Iterator[tuple[list[Event], int]]:
        """Events after `offset`, by the thousand, with the offset behind them."""
        lines = _complete_lines(self._folder / EVENTS, offset)
        for some in batches(lines, LINES_PER_SAVE):
            offset += sum(map(len, some))
            yield [json.loads(line) for line in some], offset

    def _open(self, state: dict[str, Any]) -> "Projection":
        uri, root = tracking_uri(self._root), artifact_root(self._root)
        make = _projection_class()
        make_database(self._root)
        # MLflow fills another new database, and makes a new experiment, on first use: one process at a time.
        with locked(self._root / LOCK, lambda _holder, _seconds: None):
            return make(uri, self._folder, state["runs"], state["curves"], root)


MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that is down must cost seconds, not the minutes of MLflow's default of 7 retries.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
}
"""Set before MLflow is imported, unless the user chose otherwise."""


def _projection_class() -> "type[Projection]":
    os.environ.update({name: os.environ.get(name, value) for name, value in MLFLOW_ENVIRONMENT.items()})
    from infra.tracking.projection import Projection

    # It logs a traceback of each error that it raises as well.
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)
    return Projection


def _runs(store_root: Path) -> list[Path]:
    """Folders of the store's runs, ordered by the time of their last event, the latest last."""
    logs = [path for path in store_root.glob(f"runs/*/{EVENTS}") if _last_line(path)]
    return [path.parent for path in sorted(logs, key=lambda path: (path.stat().st_mtime, path))]


def _last_line(path: Path) -> bytes:
    """The last complete line, read from the end; empty if there is none."""
    with path.open("rb") as file:
        start, tail = file.seek(0, os.SEEK_END), b""
        while start and tail.count(b"\n") < 2:
            start, size = max(0, start - BLOCK_BYTES), min(start, BLOCK_BYTES)
            file.seek(start)
            tail = file.read(size) + tail
    end = tail.rfind(b"\n")
    return tail[tail.rfind(b"\n", 0, max(0, end)) + 1 : end + 1]


def _complete_lines(path: Path, offset: int = 0) -> list[bytes]:
    """Lines from byte `offset` on; a last one that is still being written, or that a kill cut short, is left out."""
    if path.stat().st_size <= offset:
        return []
    with path.open("rb") as file:
        file.seek(offset)
        return whole_lines(file.read())
