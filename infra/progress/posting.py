"""The stages of a run that can begin now: those whose inputs are posted, and those that read an unfinished input, once
the path that they read exists."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arctic_errors import ArcticError, UserError
from infra.artifact import Artifact
from infra.budget import StoppedError
from infra.progress.outcome import Emit, Outcome
from infra.resources.capacity import Capacity
from infra.stage import Stage
from infra.store import Store


class EarlyError(UserError, RuntimeError):
    """The path that a stage reads of an unfinished input never appeared: the message contains the remedy."""


class Posting:
    """Posts `stages`, inputs first, by `send`, which takes a stage with its inputs and returns a reference to its
    result. Ray holds a task until its inputs have their results, so a stage is posted once its inputs are; one that
    reads an unfinished input, once the path that it reads exists.

    `pending`: stages by the reference to their result; `unposted`: those that wait.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        store: Store,
        capacity: Capacity,
        outcome: Outcome,
        emit: Emit,
        send: Callable[[Stage, Sequence[Any]], Any],
    ) -> None:
        self.pending: dict[Any, Stage] = {}
        self.unposted = list(stages)
        self._store, self._capacity, self._outcome = store, capacity, outcome
        self._emit, self._send = emit, send
        self._references: dict[str, Any] = {}

    def post(self, stopped: Sequence[Stage] = ()) -> None:
        """Post all that can be, and record those that never will, including those that are `stopped`."""
        waiting, self.unposted = self.unposted, []
        for stage in waiting:
            try:
                if stage in stopped:
                    raise StoppedError(self._outcome.limit)
                is_ready = self._is_ready(stage)
            except (ArcticError, StoppedError) as error:
                self._outcome.record(stage, partial(raise_error, error), self._emit)
                continue
            if is_ready:
                reference = self._send(stage, [self._input(stage, name) for name in stage.inputs])
                self._references[stage.key], self.pending[reference] = reference, stage
            else:
                self.unposted.append(stage)

    @property
    def frontier(self) -> list[Any]:
        """References of posted stages whose inputs have their results. An error reaches the reference of a stage from
        that of its input, and must not be seen there first."""
        keys = {stage.key for stage in self.pending.values()}
        return [
            reference
            for reference, stage in self.pending.items()
            if not any(each.key in keys for name, each in stage.inputs.items() if not _is_early(stage, name))
        ]

    def _is_ready(self, stage: Stage) -> bool:
        """Whether `stage` can be posted. Raises ArcticError if it would wait for ever, for an input or a machine."""
        if blocked := self._outcome.blockers(stage):
            raise EarlyError(f"{blocked[0]} has no result")
        for demand in stage.resources.demands:
            self._capacity.require(stage.id, demand)
        needed = [upstream for name, upstream in stage.inputs.items() if not _is_early(stage, name)]
        if not all(each.key in self._references or each.id in self._outcome.artifacts for each in needed):
            return False
        return stage.early is None or require_early(stage, self._store, self._outcome) is not None

    def _input(self, stage: Stage, name: str) -> Any:
        """The result of an input, a reference to it, or the known part of an unfinished one."""
        upstream = stage.inputs[name]
        if upstream.id in self._outcome.artifacts:
            return self._outcome.artifacts[upstream.id]
        return self._store.unfinished(upstream) if _is_early(stage, name) else self._references[upstream.key]


def require_early(stage: Stage, store: Store, outcome: Outcome) -> Path | None:
    """The path that `stage` reads of an unfinished input, None if that may still appear, or it reads none.

    Raises EarlyError if the input is finished without it."""
    path = store.early_path(stage)
    if path is None and stage.early and (finished := stage.inputs[stage.early.input]).id in outcome.artifacts:
        raise EarlyError(f"{finished.id} is finished and has not left {stage.early.leaves[0]}. {stage.early.remedy}")
    return path


def raise_error(error: Exception) -> Artifact:
    """The result of a stage that has none."""
    raise error


def _is_early(stage: Stage, name: str) -> bool:
    return stage.early is not None and stage.early.input == name
