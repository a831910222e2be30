"""The runs of a store: their recipes, their stages, and their outcome."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.events import EVENTS
from infra.store.locks import is_locked
from pipelines.errors import NotInStoreError
from pipelines.lineage.stages import require_store

METRICS, FAILED = b'"event": "metrics"', b'"event": "stage_failed"'
"""In the lines of such events."""


@dataclass(frozen=True)
class RunRecord:
    """One `arctic run`.

    Attributes:
        run_id: Name of its folder below `runs/`.
        name: Of the recipe.
        started: Unix seconds.
        status: "running", "finished", "failed", or "killed" if its process ended without a word.
        seconds: How long it took, None if it has not ended.
        keys: Of its stages, by id.
        actions: "reuse" or "build" by stage id, as it was planned.
        recipe: The locked recipe as plain data.
        failed: Errors by stage id.
    """

    run_id: str
    name: str
    started: float
    status: str
    seconds: float | None
    keys: Mapping[str, str]
    actions: Mapping[str, str]
    recipe: Mapping[str, Any]
    failed: Mapping[str, str]

    @property
    def num_built(self) -> int:
        """Stages that the run was to build."""
        return sum(action == "build" for action in self.actions.values())


def read_runs(location: Path | str) -> list[RunRecord]:
    """Every run of the store at a folder or an address, the newest last. Raises StoreError if there is no store."""
    folders = require_store(location).root.glob(f"runs/*/{EVENTS}")
    records = [_read(path.parent) for path in folders]
    return sorted(filter(None, records), key=lambda run: (run.started, run.run_id))


def find_run(runs: Sequence[RunRecord], name: str, location: Path | str) -> RunRecord:
    """The run with this id or the only one whose id ends so, such as "2103"; the newest for "".

    Raises NotInStoreError."""
    if not runs:
        raise NotInStoreError(
            f"store {location}: it has no run yet. Start one with: arctic run RECIPE --store {location}"
        )
    if not name:
        return runs[-1]
    named = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.endswith(name)]
    if len(named) != 1:
        problem = f"{len(named)} runs end in {name!r}" if named else f"no run {name!r}"
        shown = ", ".join(run.run_id for run in (named or runs)[-5:])
        raise NotInStoreError(f"store {location}: {problem}. Name one as `arctic runs` lists them, such as {shown}.")
    return named[0]


def results_of(run: RunRecord, location: Path | str) -> dict[str, Artifact]:
    """The committed results of a run by stage id, whichever run built them."""
    by_key = {artifact.manifest.key: artifact for artifact in require_store(location).artifacts()}
    return {stage: by_key[key] for stage, key in run.keys.items() if key in by_key}


def _read(folder: Path) -> RunRecord | None:
    """None if the log has no complete line yet. A long log is mostly metrics, which are not parsed."""
    with (folder / EVENTS).open("rb") as file:
        lines = [line for number, line in enumerate(file) if number == 0 or not line.count(METRICS)]
    lines = [line for line in lines if line.endswith(b"\n")]
    if not lines:
        return None
    first, *_, last = (json.loads(line) for line in (lines[0], lines[-1]))
    has_ended = last["event"] == "run_finished"
    failures = [json.loads(line) for line in lines if FAILED in line]
    return RunRecord(
        run_id=first["run_id"],
        name=first["name"],
        started=first["time"],
        status=last["status"] if has_ended else "running" if is_locked(folder / EVENTS) else "killed",
        seconds=last["seconds"] if has_ended else None,
        keys={stage["id"]: stage["key"] for stage in first["stages"]},
        actions={stage["id"]: stage["action"] for stage in first["stages"]},
        recipe=first["recipe"],
        failed={event["stage"]: event["error"] for event in failures},
    )
