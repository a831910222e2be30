"""Run a planned graph: each stage a Ray task that waits for the manifests of its inputs; bytes stay in the store.

A stage that raises fails its own descendants and nobody else. A worker or node that dies is replaced on another budget
than an error. Committed results stay, so you resume by running again. A stage that no machine can hold yet waits for
one: see `infra.resources.capacity`.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.budget import UNLIMITED, Budget, Meter, StoppedError
from infra.context import STOP, Event, StageContext
from infra.events import Channel, EventLog
from infra.host.packages import require
from infra.host.provenance import code_digest, function_digest, provenance
from infra.plan import PlannedStage, notes
from infra.progress.outcome import Emit, Outcome, cause
from infra.progress.posting import Posting, raise_error, require_early
from infra.resources import Demand
from infra.resources.capacity import REPORT_S, Capacity, CapacityError, Wait
from infra.resources.room import free_leftovers
from infra.stage import Stage
from infra.store import Store, Turn, disk_full, write_durably
from infra.store.integrity import known_manifests

PREEMPTIONS = 20
"""How often one stage may lose its worker before it counts as failed."""
POLL_S = 0.2


def run(
    planned: Sequence[PlannedStage], store: Store, log: EventLog, watch: Emit, budget: Budget = UNLIMITED
) -> Outcome:
    """Run on the Ray cluster this process is connected to. `watch` sees every event; `log` keeps them."""
    import ray

    channel = Channel()
    outcome = Outcome()
    limiter = _Limiter(_meter(planned, budget), store, outcome)
    emit = _emitter(log, watch, outcome, limiter)
    capacity = Capacity.look()
    for each in planned:
        if each.artifact:
            _reuse(each.stage, each.artifact, outcome, emit)

    def send(stage: Stage, upstream: Sequence[Any]) -> Any:
        task = ray.remote(build).options(
            name=stage.id,
            num_cpus=stage.resources.num_cpus,
            num_gpus=stage.resources.num_gpus,
            max_retries=PREEMPTIONS,
            retry_exceptions=False,
        )
        return task.remote(stage, store, channel, capacity, *upstream)

    posting = Posting([each.stage for each in planned if not each.artifact], store, capacity, outcome, emit, send)
    _follow(posting, channel, _Waits(capacity, emit), limiter, outcome, emit)
    return outcome


def run_inline(
    planned: Sequence[PlannedStage], store: Store, log: EventLog, watch: Emit, budget: Budget = UNLIMITED
) -> Outcome:
    """Run in this process, one stage after the other: same files, no cluster."""
    outcome = Outcome()
    limiter = _Limiter(_meter(planned, budget), store, outcome)
    emit = _emitter(log, watch, outcome, limiter)
    for each in planned:
        if each.artifact:
            _reuse(each.stage, each.artifact, outcome, emit)
            continue

        def build_here(stage: Stage = each.stage) -> Artifact:
            limiter.require()
            require_early(stage, store, outcome)
            upstream = [outcome.artifacts[needed.id] for needed in stage.inputs.values()]
            return build(stage, store, emit, None, *upstream)

        outcome.record(each.stage, build_here, emit)
    return outcome


def build(stage: Stage, store: Store, emit: Emit, capacity: Capacity | None, *upstream: Artifact) -> Artifact:
    """One attempt of one stage, or the result of another run that builds the same stage now.

    `capacity` of the cluster that shards may be spread over; None if all work is done in this process. Raises the
    exceptions of the work.
    """
    with store.building(stage, _Queue(stage, emit)) as turn:
        if turn.committed:
            emit({"event": "stage_reused", **_identity(stage), **_result(turn.committed)})
            return turn.committed
        return _attempt(stage, store, _careful(stage, turn, emit), capacity, upstream)


def _careful(stage: Stage, turn: Turn, emit: Emit) -> Emit:
    """Emits while the stage is this process's to build; warns once of each trouble with its unfinished work."""
    warned = ""

    def guarded(event: Event) -> None:
        nonlocal warned
        turn.require()
        if turn.trouble and turn.trouble != warned:
            warned = turn.trouble
            emit({"event": "warning", "stage": stage.id, "message": warned})
        emit(event)

    return guarded


def _attempt(
    stage: Stage, store: Store, emit: Emit, capacity: Capacity | None, upstream: Sequence[Artifact]
) -> Artifact:
    """Work into scratch, commit by rename. Only for the holder of the stage."""
    state = store.state(stage)
    (state / STOP).unlink(missing_ok=True)
    attempt = _count_attempt(state)
    identity = _identity(stage)
    emit({"event": "stage_started", **identity, "attempt": attempt, "params": dict(stage.params)})
    scratch = store.scratch(stage)
    siblings = partial(store.siblings, stage, _code(stage))
    context = StageContext(
        stage.id,
        scratch,
        state,
        emit,
        capacity is not None,
        capacity,
        siblings,
        store.earlier(stage),
        store.early_path(stage),
    )
    started = time.monotonic()
    try:
        if context.parallel:
            free_leftovers(stage.id)
        require(stage.packages, stage.id)
        with known_manifests(upstream):
            metrics = stage.work(context, dict(zip(stage.inputs, upstream, strict=True)))
        seconds = time.monotonic() - started
        artifact = store.commit(
            stage,
            scratch,
            metrics=metrics,
            quarantined=context.quarantined,
            seconds=seconds,
            provenance={
                **provenance(),
                "code": _code(stage),
                "attempt": attempt,
                "shards_reused": context.shards_reused,
                "warnings": context.warnings,
                "measured": context.measured,
            },
            shards=context.shards,
        )
    except Exception as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise _explain(error, stage, store) from error
    emit({"event": "stage_finished", **identity, "seconds": round(seconds, 3), **_result(artifact)})
    return artifact


class _Queue:
    """Reports at intervals that a stage waits for the run that builds it."""

    def __init__(self, stage: Stage, emit: Emit) -> None:
        self._stage, self._emit = stage, emit
        self._reported_s = 0.0

    def __call__(self, holder: str, seconds: float) -> None:
        if seconds - self._reported_s >= REPORT_S:
            self._reported_s = seconds
            needs = f"the run that builds it ({holder or 'it is just starting'})"
            self._emit({"event": "waiting", "stage": self._stage.id, "needs": needs, "seconds": round(seconds, 1)})


class _Waits:
    """The stages whose inputs are there and whose tasks Ray has not started yet."""

    def __init__(self, capacity: Capacity, emit: Emit) -> None:
        self._capacity, self._emit = capacity, emit
        self._started: set[str] = set()
        self._waits: dict[str, Wait] = {}

    def see(self, event: Event) -> None:
        """Note which stages have started."""
        if event["event"] == "stage_started":
            self._started.add(event["stage"])

    def check(self, stage: Stage, outcome: Outcome) -> None:
        """Report how long `stage` waits for a machine, if it does. Raises CapacityError if that is in vain."""
        is_ready = all(needed.id in outcome.artifacts for needed in stage.inputs.values())
        # A task without resources has room anywhere: it starts as soon as its worker process does.
        if stage.id in self._started or not is_ready or stage.resources.task == Demand():
            return
        if stage.id not in self._waits:
            self._waits[stage.id] = Wait(stage.id, stage.resources.task, self._capacity, self._emit)
        self._waits[stage.id].check()


class _Limiter:
    """Asks the stages that work to stop once a limit of the run is reached."""

    def __init__(self, meter: Meter, store: Store, outcome: Outcome) -> None:
        self._meter, self._store, self._outcome = meter, store, outcome

    def see(self, event: Event) -> None:
        """Count, and ask a stage that starts too late to stop."""
        self._meter.see(event)
        self.check()

    def check(self) -> None:
        """Ask every stage that works to stop, if a limit is reached."""
        self._outcome.limit = self._outcome.limit or self._meter.exceeded()
        for stage in self._meter.running if self._outcome.limit else ():
            state = self._store.state(stage)
            # A stage that has just committed has no state any more.
            if state.is_dir() and not (state / STOP).exists():
                with suppress(FileNotFoundError):
                    write_durably(state / STOP, self._outcome.limit)

    def require(self) -> None:
        """Raise StoppedError if a limit is reached."""
        self.check()
        if self._outcome.limit:
            raise StoppedError(self._outcome.limit)

    def waiting(self, stages: Iterable[Stage]) -> list[Stage]:
        """Those of `stages` that have not begun and shall not, since a limit is reached."""
        running = {stage.id for stage in self._meter.running}
        return [stage for stage in stages if stage.id not in running] if self._outcome.limit else []


def _meter(planned: Sequence[PlannedStage], budget: Budget) -> Meter:
    return Meter(budget, {each.stage.id: each.stage for each in planned})


def _follow(posting: Posting, channel: Channel, waits: _Waits, limiter: _Limiter, outcome: Outcome, emit: Emit) -> None:
    """Pass on the messages of the stages, until each of them has its result or none."""
    import ray

    posting.post()
    while posting.pending or posting.unposted:
        done, _ = ray.wait(posting.frontier, timeout=POLL_S, fetch_local=False)
        for event in channel.take():
            waits.see(event)
            emit(event)
        for reference in done:
            outcome.record(posting.pending.pop(reference), partial(_fetch, reference), emit)
        limiter.check()
        stopped = limiter.waiting([*posting.pending.values(), *posting.unposted])
        for reference, stage in list(posting.pending.items()):
            try:
                if stage in stopped:
                    raise StoppedError(outcome.limit)
                waits.check(stage, outcome)
            except (CapacityError, StoppedError) as error:
                ray.cancel(reference)
                outcome.record(posting.pending.pop(reference), partial(raise_error, error), emit)
        posting.post(stopped)


def _emitter(log: EventLog, watch: Emit, outcome: Outcome, limiter: "_Limiter") -> Emit:
    """Keeps an event, then shows it."""

    def emit(event: Event) -> None:
        if event["event"] == "stage_reused":
            outcome.reused.add(event["stage"])
        watch(log.append(event))
        limiter.see(event)

    return emit


def _identity(stage: Stage) -> Event:
    return {"stage": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}


def _result(artifact: Artifact) -> Event:
    return {"path": str(artifact.folder), "metrics": dict(artifact.manifest.metrics)}


def _reuse(stage: Stage, artifact: Artifact, outcome: Outcome, emit: Emit) -> None:
    outcome.artifacts[stage.id] = artifact
    emit({"event": "stage_reused", **_identity(stage), **_result(artifact)})
    if artifact.manifest.provenance["code"] != _code(stage):
        message = (
            f"the code of {stage.id} changed since this result was made; delete {artifact.folder} to build it again"
        )
        emit({"event": "warning", "stage": stage.id, "message": message})
    for note in notes(artifact, stage):
        emit({"event": "warning", "stage": stage.id, "message": f"{stage.id} is reused: {note}"})


def _fetch(reference: Any) -> Artifact:
    import ray

    artifact: Artifact = ray.get(reference)
    return artifact


def _explain(error: Exception, stage: Stage, store: Store) -> Exception:
    reason = cause(error)
    full = disk_full(reason, store.root, f"building {stage.id}") if isinstance(reason, OSError) else None
    return full or error


def _count_attempt(state: Path) -> int:
    counter = state / "attempts"
    attempt = int(counter.read_text()) + 1 if counter.exists() else 1
    write_durably(counter, str(attempt))
    return attempt


def _code(stage: Stage) -> str:
    """Digest of the package that does the stage's work: recorded, and compared when its result is used again."""
    work = stage.work.func if isinstance(stage.work, partial) else stage.work
    # A function of a script or a notebook travels to workers by value, and their own __main__ is another file.
    return function_digest(work) if work.__module__ == "__main__" else code_digest(work.__module__)
