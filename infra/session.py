"""Run a graph of stages durably and return the outcome: without a terminal or a running cluster.

Each run writes `runs/<run id>/` in its store: an event log, which MLflow is filled in from, and the files that describe
the run. Every event also reaches `on_event`, in order: `run_started` first, `run_finished` last.

Example:
    >>> import tempfile
    >>> from infra import Stage, run
    >>> def count(context, inputs):
    ...     (context.out / "count.txt").write_text("42")
    ...     return {"count": 42.0}
    >>> store = tempfile.mkdtemp()
    >>> first = run([Stage("count", work=count)], store)
    >>> first.stages["count"].status, first.metrics["count"]["count"]
    ('built', 42.0)
    >>> run([Stage("count", work=count)], store).stages["count"].status
    'reused'
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from infra.artifact import Artifact
from infra.budget import UNLIMITED, Budget
from infra.context import Event
from infra.events import RUN_ID_VARIABLE, EventLog
from infra.host.masking import masked
from infra.host.packages import PackageError
from infra.host.provenance import provenance
from infra.host.surroundings import prepare
from infra.plan import PlannedStage, missing_packages, plan
from infra.progress.outcome import Outcome
from infra.resources.capacity import REPORT_S
from infra.runner import run as run_on_cluster
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store, StoreError, write_durably

OnEvent = Callable[[Event], None]
Status = Literal["built", "reused", "failed", "skipped"]


@dataclass(frozen=True)
class StageResult:
    """The outcome of one stage: its committed `artifact`, or the `error` that it failed with or waits for.

    Example:
        >>> from infra import Stage, StageResult
        >>> result = StageResult(Stage("count", work=lambda context, inputs: {}), "failed", error="ValueError: no page")
        >>> result.status, result.error, result.artifact
        ('failed', 'ValueError: no page', None)
    """

    stage: Stage
    status: Status
    artifact: Artifact | None = None
    error: str = ""

    @property
    def path(self) -> Path:
        """Folder of the committed files. Raises ValueError if the stage has no result."""
        if self.artifact is None:
            raise ValueError(f"{self.stage.id}: {self.status}, so it has no result: {self.error}")
        return self.artifact.path

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics of the stage, empty if it has no result."""
        return self.artifact.manifest.metrics if self.artifact else {}

    @property
    def seconds(self) -> float:
        """Seconds that building the result took, in this run or in an earlier one; 0 if there is none."""
        return self.artifact.manifest.seconds if self.artifact else 0.0


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run; `stages` by id, inputs first.

    Attributes:
        name: Name of the graph, and of its MLflow experiment.
        run_id: Name of the run, and of its folder below `runs/` of the store.
        store: Folder of the store.
        stages: Result of every stage by id.
        seconds: Duration of this run.
        tracking_uri: MLflow address of the run.
        limit: The limit that ended the run, in words; "" if none did.

    Example:
        >>> import tempfile
        >>> from infra import Stage, run
        >>> def fail(context, inputs):
        ...     raise ValueError("no page")
        >>> result = run([Stage("pages", work=fail)], tempfile.mkdtemp())
        >>> result.ok, result.failed
        (False, {'pages': 'ValueError: no page'})
    """

    name: str
    run_id: str
    store: Path
    stages: Mapping[str, StageResult]
    seconds: float
    tracking_uri: str
    limit: str = ""

    @property
    def ok(self) -> bool:
        """Whether every stage has its result."""
        return all(result.artifact for result in self.stages.values())

    @property
    def failed(self) -> dict[str, str]:
        """Error by stage id."""
        return {name: result.error for name, result in self.stages.items() if result.status == "failed"}

    @property
    def skipped(self) -> dict[str, str]:
        """The stage without a result that each skipped stage waits for, or the limit of the run, by stage id."""
        return {name: result.error for name, result in self.stages.items() if result.status == "skipped"}

    @property
    def metrics(self) -> dict[str, Mapping[str, float]]:
        """Metrics of each stage that has a result, by stage id."""
        return {name: result.metrics for name, result in self.stages.items() if result.artifact}

    @property
    def folder(self) -> Path:
        """Folder of the run's event log and lock."""
        return self.store / "runs" / self.run_id


@dataclass(frozen=True)
class RunInfo:
    """How a run is recorded: its `name`, the `recipe` it follows as plain data, texts by file name, and the registered
    model of MLflow that its last model becomes a version of, "" for none."""

    name: str = "run"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    register: str = ""


def run(
    stages: Sequence[Stage],
    store: Path | str,
    address: str | None = None,
    on_event: OnEvent | None = None,
    *,
    name: str = "run",
) -> RunResult:
    """Build `stages` and all that they need; committed results are reused.

    Args:
        stages: The stages to build.
        store: Folder of results, made if missing, or an address such as "s3://bucket/prefix".
        address: Ray cluster, such as "auto". Default: RAY_ADDRESS, else a cluster on this machine while the run lasts.
        on_event: Called with every event of the run.
        name: Name of the run's MLflow experiment.

    Returns:
        The outcome of each stage. A stage that raises fails; the call does not raise.

    Raises:
        UserError: The store, the cluster or a package is not as the run needs it.

    Example:
        >>> import tempfile
        >>> from infra import Stage, run
        >>> events = []
        >>> stage = Stage("empty", work=lambda context, inputs: {})
        >>> result = run([stage], tempfile.mkdtemp(), on_event=lambda event: events.append(event["event"]))
        >>> events
        ['run_started', 'connecting', 'stage_started', 'stage_finished', 'run_finished']
    """
    with Store(store).writing() as opened:
        return execute(plan(opened, stages), opened, RunInfo(name), address, on_event)


def execute(
    planned: Sequence[PlannedStage],
    store: Store,
    info: RunInfo,
    address: str | None = None,
    on_event: OnEvent | None = None,
    budget: Budget = UNLIMITED,
) -> RunResult:
    """Run the planned stages in a store that is open for writing, with its event log and MLflow.

    Raises PackageError, before anything is built, if a stage cannot start on this machine for want of a package.
    """
    from infra.tracking import Tracker, reconcile, tracking_uri

    watch = on_event or ignore
    _require_packages(planned, address, watch)
    prepare()
    run_id = os.environ.get(RUN_ID_VARIABLE, "")
    if not run_id or (store.root / "runs" / run_id).exists():
        # A job that Ray starts again is another run.
        run_id = new_run_id(info.name)
    folder = store.root / "runs" / run_id
    reconcile(store.root)
    log = EventLog(folder)
    for file, text in info.files.items():
        write_durably(folder / file, masked(text))
    with store.pruning_blocked(partial(_report_pruning, watch)):
        store.refresh()
        planned = [_still_committed(each, store) for each in planned]
        started_event = log.append(_run_started(run_id, info, planned))
        store.publish_run(run_id)
    watch(started_event)
    tracker = Tracker(store.root, run_id)
    started = time.monotonic()
    status = "killed"
    try:
        outcome = _run_stages(planned, store, log, watch, address, budget)
        status = "finished" if outcome.ok else "killed" if outcome.limit and not outcome.failed else "failed"
    finally:
        seconds = time.monotonic() - started
        # A full disk has been reported by then, and the next run closes a log without an end.
        with suppress(StoreError):
            watch(log.append({"event": "run_finished", "status": status, "seconds": round(seconds, 3)}))
        tracker.stop()
        log.close()
        store.publish_run(run_id)
    results, uri = _results(planned, outcome), tracking_uri(store.root)
    return RunResult(info.name, run_id, store.root, results, seconds, uri, outcome.limit)


def _still_committed(planned: PlannedStage, store: Store) -> PlannedStage:
    """A planned stage, to be built if its result was removed since the plan."""
    if planned.artifact is None or store.find(planned.stage):
        return planned
    return replace(planned, action="build", reason="removed since the run was planned", artifact=None)


def _report_pruning(watch: OnEvent, holder: str, seconds: float) -> None:
    if seconds >= REPORT_S:
        message = f"waiting for {holder}, which prunes the store: {seconds:.0f} s"
        watch({"event": "store_busy", "time": time.time(), "message": message})


def new_run_id(name: str) -> str:
    """A name for a run of the recipe `name` that no other run has."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def ignore(event: Event) -> None:
    """Take an event and do nothing."""


def _require_packages(planned: Sequence[PlannedStage], address: str | None, watch: OnEvent) -> None:
    """Refuse stages that this machine cannot run. Another cluster may have packages that this machine lacks: there each
    stage looks for them before it starts."""
    lacking = missing_packages(planned)
    if lacking and address is None and "RAY_ADDRESS" not in os.environ:
        raise PackageError("\n".join(lacking))
    for line in lacking:
        watch({"event": "missing_package", "time": time.time(), "message": line})


def _run_stages(
    planned: Sequence[PlannedStage],
    store: Store,
    log: EventLog,
    watch: OnEvent,
    address: str | None,
    budget: Budget,
) -> Outcome:
    wants_cluster = address is not None or "RAY_ADDRESS" in os.environ
    if all(each.artifact or (each.stage.inline and not wants_cluster) for each in planned):
        return run_inline(planned, store, log, watch, budget)
    from infra.cluster.connection import connect

    watch(log.append({"event": "connecting", "address": address or os.environ.get("RAY_ADDRESS", "")}))
    with connect(address):
        return run_on_cluster(planned, store, log, watch, budget)


def _run_started(run_id: str, info: RunInfo, planned: Sequence[PlannedStage]) -> Event:
    stages = [
        {
            "id": each.stage.id,
            "name": each.stage.name,
            "subject": each.stage.subject,
            "key": each.stage.key,
            "action": each.action,
            "reason": each.reason,
            "expected_s": each.expected_s,
            "inputs": {name: upstream.key for name, upstream in each.stage.inputs.items()},
            "continues": list(each.stage.continues),
            "model_output": each.stage.model_output,
            "model_input": each.stage.model_input,
            "model_key": each.stage.model_key,
            "step_metric": each.stage.step_metric,
        }
        for each in planned
    ]
    identity = {"run_id": run_id, "name": info.name, "process": os.getpid()}
    return {
        "event": "run_started",
        **identity,
        **({"register": info.register} if info.register else {}),
        "recipe": info.recipe,
        "stages": stages,
        "provenance": provenance(),
    }


def _results(planned: Sequence[PlannedStage], outcome: Outcome) -> dict[str, StageResult]:
    return {each.stage.id: _result(each, outcome) for each in planned}


def _result(planned: PlannedStage, outcome: Outcome) -> StageResult:
    stage = planned.stage
    if artifact := outcome.artifacts.get(stage.id):
        return StageResult(stage, "reused" if stage.id in outcome.reused else "built", artifact)
    if stage.id in outcome.failed:
        return StageResult(stage, "failed", error=outcome.failed[stage.id])
    return StageResult(stage, "skipped", error=outcome.skipped[stage.id])
