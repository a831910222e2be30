"""The context of a stage's work: folders for output and state, and messages to the observer."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.artifact import Artifact
    from infra.resources.capacity import Capacity

Event = dict[str, Any]
STOP = ".stop"
"""File in a stage's state that asks it to stop at its next commit, with the reason."""
WARNINGS = "warnings.jsonl"
"""File in the folder `state` of a stage: its warnings, of any attempt and any worker."""


@dataclass
class StageContext:
    """One attempt of one stage.

    `out`: scratch folder whose files are committed when the work returns. `state`: folder that survives attempts.
    `emit`: takes events; in a run they reach the event log, the live table and MLflow. `parallel`: whether shards may
    be spread over the cluster, or run one after the other in this process. `capacity`: the driver's knowledge of the
    cluster's size; None if the stage asks for itself. `siblings`: other results of this stage, whose shards may be
    taken over. `earlier`: state folders of the stages that this one continues. `early`: the path that it reads of an
    unfinished input, None if it reads none. `shards`: the recorded results of each shard that has a key. `measured`:
    series of plain data about this build, by name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from infra import StageContext
        >>> def work(context, inputs):
        ...     (context.out / "words.txt").write_text("one two")
        ...     context.progress(2, 2, "words")
        ...     return {"words": 2.0}
        >>> folder = Path(tempfile.mkdtemp())
        >>> work(StageContext("count", out=folder, state=folder, emit=lambda event: print(event["unit"])), {})
        words
        {'words': 2.0}
    """

    stage_id: str
    out: Path
    state: Path
    emit: Callable[[Event], None]
    parallel: bool = False
    capacity: "Capacity | None" = None
    siblings: Callable[[], Iterable["Artifact"]] = tuple
    earlier: tuple[Path, ...] = ()
    early: Path | None = None
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    shards: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    shards_reused: int = 0
    measured: dict[str, list[Any]] = field(default_factory=dict)

    def stop_reason(self) -> str:
        """The reason why this stage is asked to stop at its next commit; "" if it is not."""
        try:
            return (self.state / STOP).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def progress(self, done: float, total: float, unit: str) -> None:
        """Report the progress of the work; the observer computes rate and time left."""
        self.emit({"event": "progress", "stage": self.stage_id, "done": done, "total": total, "unit": unit})

    def log_metrics(self, points: list[tuple[int, Mapping[str, float]]]) -> None:
        """Publish (step, metrics) points. The steps of a metric ascend; one that is sent again, as by an attempt that
        goes on after a kill, is left out."""
        self.emit(
            {
                "event": "metrics",
                "stage": self.stage_id,
                "points": [[step, dict(values)] for step, values in points],
            }
        )

    def log_file(self, file: Path) -> None:
        """Publish a finished file of a folder next to `state`, where all workers see it. The folder stays as it is."""
        self.emit({"event": "file", "stage": self.stage_id, "path": str(file)})

    def warn(self, message: str) -> None:
        """State something that the user should know and that does not stop the work.

        The result keeps it, whichever worker states it, so that a run that reuses the result can repeat it."""
        self.emit({"event": "warning", "stage": self.stage_id, "message": message})
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / WARNINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")

    @property
    def warnings(self) -> list[str]:
        """Everything that was warned of since the stage's first attempt, each message once."""
        file = self.state / WARNINGS
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
        return list(dict.fromkeys(json.loads(line) for line in lines if line.endswith("\n")))

    def measure(self, name: str, values: Sequence[Any]) -> None:
        """Store plain data about this build next to the result, such as its speed, outside of its hashed bytes."""
        self.measured[name] = list(values)

    def discard(self, folder: Path) -> None:
        """Remove a folder of `out` or `state` that is needed no more.

        On some file systems, NFS and FUSE among them, a file that is still open stays under another name in its folder:
        so the folder goes elsewhere first.
        """
        discarded = self.state / f".discarded-{secrets.token_hex(4)}"
        folder.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)

    def quarantine(self, origin: str, reason: str) -> None:
        """Set a record aside: it is counted, listed in the manifest, and the work goes on."""
        self.quarantined.append({"origin": origin, "reason": reason})
