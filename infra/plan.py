"""The plan of a run, stage by stage, with reasons. Needs neither a cluster nor the network."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from arctic_errors import UserError
from infra.artifact import Artifact, Manifest
from infra.host.arithmetic import arithmetic
from infra.host.arithmetic import differences as differences_of_machines
from infra.host.packages import problems, remedy
from infra.stage import Stage, topological_order
from infra.store import Store


class SelectionError(UserError, ValueError):
    """`--until` or `--only` matches nothing, or leaves out a required stage."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage with its action: `artifact` is the committed result if it is reused.

    `expected_s`, `expected_bytes` and `expected_worker_hours`: duration, size and, if it was counted, time of all
    workers of the newest result of this stage's name and subject, with any parameters; None if the store has none.
    """

    stage: Stage
    action: Literal["reuse", "build"]
    reason: str
    artifact: Artifact | None = None
    expected_s: float | None = None
    expected_bytes: int | None = None
    expected_worker_hours: float | None = None

    @property
    def warnings(self) -> list[str]:
        """Warnings of the stage from when its result was built; empty if it is to be built."""
        return list(self.artifact.manifest.provenance.get("warnings", ())) if self.artifact else []


def plan(store: Store, targets: Sequence[Stage]) -> list[PlannedStage]:
    """Every stage that `targets` need, inputs first. Raises StoreError if a manifest is unreadable."""
    store.refresh()
    planned: dict[str, PlannedStage] = {}
    latest: dict[tuple[str, str], Manifest] | None = None
    for stage in topological_order(list(targets)):
        artifact = store.find(stage)
        if artifact:
            planned[stage.key] = PlannedStage(
                stage, "reuse", "; ".join(["committed", *notes(artifact, stage)]), artifact
            )
            continue
        # Reads every manifest of the store, which a plan that reuses all does not need.
        latest = _latest(store) if latest is None else latest
        before = latest.get((stage.name, stage.subject))
        reason = _why(stage, before)
        if store.state(stage).exists():
            reason += "; continues an earlier attempt"
        elif any(folder.exists() for folder in store.earlier(stage)):
            reason += "; continues the work before the change"
        expected = (before.seconds, before.bytes, before.metrics.get("worker_hours")) if before else ()
        planned[stage.key] = PlannedStage(stage, "build", reason, None, *expected)
    return list(planned.values())


def notes(artifact: Artifact, stage: Stage) -> list[str]:
    """Notes on using `artifact` for `stage`: that it was built on a machine that may give different bits."""
    if not stage.machine_dependent:
        return []
    changed = differences_of_machines(artifact.manifest.provenance.get("arithmetic", {}), arithmetic())
    return (
        [f"built on another machine ({'; '.join(changed)}), so a build here may differ in its last bits"]
        if changed
        else []
    )


def select(stages: Mapping[str, Stage], until: str | None = None, only: str | None = None) -> list[Stage]:
    """The stages to aim at: those whose name or id matches `until` or `only` (with `*` and `?`), or all. Raises
    SelectionError if nothing fits."""
    option, name_pattern = ("--until", until) if until is not None else ("--only", only)
    if name_pattern is None:
        return list(stages.values())
    # Ids contain brackets (train[2]), which are matched literally.
    pattern = name_pattern.replace("[", "[[]")
    selected = [
        stage for stage in stages.values() if any(fnmatch.fnmatchcase(name, pattern) for name in (stage.name, stage.id))
    ]
    if not selected:
        raise SelectionError(
            f"{option} {name_pattern}: no such stage. The stages are {', '.join(stages)}; {option} takes a name, "
            f"such as {list(stages.values())[-1].name}, an id, or a pattern with * and ?."
        )
    return selected


def missing_packages(planned: Sequence[PlannedStage]) -> list[str]:
    """Stages to build that cannot start in this environment, one line for all that lack the same packages."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for each in planned:
        if each.action == "build" and problems(each.stage.packages):
            lacking.setdefault(each.stage.packages, []).append(each.stage.id)
    return [f"{', '.join(ids)}: {'; '.join(problems(names))}. {remedy(names)}" for names, ids in lacking.items()]


def require_inputs(planned: Sequence[PlannedStage], selected: Sequence[Stage]) -> None:
    """Raise SelectionError if a stage outside `chosen` would have to be built first."""
    keys = {stage.key for stage in selected}
    missing = [each.stage.id for each in planned if each.action == "build" and each.stage.key not in keys]
    if missing:
        raise SelectionError(
            f"--only leaves out {', '.join(missing)}, which must be built first. Run without --only, or widen it."
        )


def _latest(store: Store) -> dict[tuple[str, str], Manifest]:
    """The latest committed result of each stage, to explain its changes."""
    latest: dict[tuple[str, str], Artifact] = {}
    for artifact in store.artifacts():
        identity = (artifact.manifest.name, artifact.manifest.subject)
        if identity not in latest or artifact.made > latest[identity].made:
            latest[identity] = artifact
    return {identity: artifact.manifest for identity, artifact in latest.items()}


def _why(stage: Stage, before: Manifest | None) -> str:
    if before is None:
        return "never built in this store"
    if stage.version != before.version:
        return f"stage version {before.version} -> {stage.version}"
    changes = [
        f"{field} {_short(old)} -> {_short(new)}" for field, old, new in changed_fields(before.params, stage.params)
    ]
    for name, upstream in stage.inputs.items():
        if before.inputs.get(name) != upstream.key:
            changes.append(f"input {upstream.id} {'is new' if name not in before.inputs else 'changed'}")
    changes += [f"input {name} is gone" for name in before.inputs if name not in stage.inputs]
    shown = ", ".join(changes[:3]) + (f", and {len(changes) - 3} more" if len(changes) > 3 else "")
    return shown or f"another result was built last ({before.key})"


def changed_fields(before: Any, after: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Fields in which two plain values differ, such as `train.peak_lr`, with both values; None if one lacks it. Lists
    of other lengths are compared as a whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from changed_fields(before.get(name), after.get(name), f"{field}.{name}" if field else str(name))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True), start=1):
            yield from changed_fields(old, new, f"{field}.{number}")
    elif before != after:
        yield field, before, after


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
