"""The results that runs of a store use: each run's event log names them in its first line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.context import Event
from infra.events import EVENTS, whole_lines
from infra.stage import Stage
from infra.store import Store
from infra.store.locks import is_locked

State = Literal["ended", "running", "open"]


@dataclass(frozen=True)
class RunRoot:
    """One run, and the results that it uses as "name/subject-key".

    `state`: "running" if a process holds its log, "open" if the log in object storage has no end, so that another
    machine may run it.
    """

    run_id: str
    name: str
    started: float
    results: frozenset[str]
    state: State

    @property
    def may_resume(self) -> bool:
        return self.state != "ended"


def run_records(store: Store) -> list[RunRoot]:
    """Every run of a store, the earliest first."""
    records = {
        run_id: _record(lines, "ended" if _has_ended(lines) else "open") for run_id, lines in _remote_logs(store)
    }
    for folder in sorted((store.root / "runs").glob("*")):
        if lines := _lines(folder):
            records[folder.name] = _record(lines, "running" if _is_written(folder, lines) else "ended")
    return sorted(records.values(), key=lambda record: (record.started, record.run_id))


def result_name(name: str, subject: str, key: str) -> str:
    """Path of a result below `stages/`."""
    return f"{name}/{subject}-{key}" if subject else f"{name}/{key}"


def results_of(stages: Sequence[Stage]) -> set[str]:
    """The results of stages, and the unfinished work that they may go on from."""
    return {result_name(stage.name, stage.subject, key) for stage in stages for key in (stage.key, *stage.continues)}


def _record(lines: Sequence[bytes], state: State) -> RunRoot:
    first: Event = json.loads(lines[0])
    results = {
        result_name(stage["name"], stage["subject"], key)
        for stage in first["stages"]
        for key in (stage["key"], *stage.get("continues", []))
    }
    return RunRoot(first["run_id"], first["name"], first["time"], frozenset(results), state)


def _remote_logs(store: Store) -> Iterator[tuple[str, Sequence[bytes]]]:
    if store.remote is None:
        return
    for entry in store.remote.objects.entries("runs"):
        _, run_id, file = entry.name.split("/", 2)
        if file == EVENTS and (lines := whole_lines(store.remote.objects.get(entry.name))):
            yield run_id, lines


def _lines(folder: Path) -> Sequence[bytes]:
    file = folder / EVENTS
    return whole_lines(file.read_bytes()) if file.is_file() else []


def _has_ended(lines: Sequence[bytes]) -> bool:
    last: Mapping[str, Any] = json.loads(lines[-1])
    return bool(last["event"] == "run_finished")


def _is_written(folder: Path, lines: Sequence[bytes]) -> bool:
    """Whether a process holds the log of a run on this file system."""
    return not _has_ended(lines) and is_locked(folder / EVENTS)
