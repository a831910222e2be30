"""The outcomes of the stages of a run: results, errors, and stages that wait in vain."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from arctic_errors import ArcticError
from infra.artifact import Artifact
from infra.budget import StoppedError
from infra.context import Event
from infra.host.masking import masked
from infra.stage import Stage

Emit = Callable[[Event], None]


@dataclass
class Outcome:
    """The outcomes of a run, by stage id: artifacts, those it did not build, errors, and the failed stages that skipped
    ones wait for."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    limit: str = ""
    """The limit that ended the run, in words."""

    @property
    def ok(self) -> bool:
        return not self.failed and not self.skipped

    def blockers(self, stage: Stage) -> list[str]:
        """Inputs of `stage` that have no result and will have none."""
        return [needed.id for needed in stage.inputs.values() if needed.id in {**self.failed, **self.skipped}]

    def record(self, stage: Stage, result: Callable[[], Artifact], emit: Emit) -> None:
        """Record the result of a stage, or the reason why there is none."""
        if blocked := self.blockers(stage):
            self._skip(stage, blocked[0], f"{blocked[0]} has no result", emit)
            return
        try:
            self.artifacts[stage.id] = result()
        except Exception as error:
            reason = cause(error)
            if isinstance(reason, StoppedError):
                self._skip(stage, str(reason), str(reason), emit)
                return
            # A message for users needs no class in front of it; that of an error of the code or a library does.
            text = str(reason) if isinstance(reason, ArcticError) else f"{type(reason).__name__}: {reason}"
            self.failed[stage.id] = masked(text)
            detail = "".join(traceback.format_exception(error))
            emit({"event": "stage_failed", "stage": stage.id, "error": self.failed[stage.id], "detail": detail})

    def _skip(self, stage: Stage, waits_for: str, because: str, emit: Emit) -> None:
        self.skipped[stage.id] = waits_for
        emit({"event": "stage_skipped", "stage": stage.id, "because": because})


def cause(error: BaseException) -> BaseException:
    """The exception of the work itself: Ray wraps exceptions of a task."""
    inner = getattr(error, "cause", None)
    return cause(inner) if isinstance(inner, BaseException) else error
