"""The state of a run on the screen: one row per stage, updated by the run's events."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from infra.context import Event
from pipelines.cli.terminal.live.training import TrainingFigures
from pipelines.cli.terminal.results import result_text
from pipelines.cli.terminal.units import count_text, duration_text

Status = Literal["waiting", "running", "done", "reused", "failed", "skipped"]


@dataclass
class StageRow:
    """One stage: how far it is, and a note about it or its result."""

    status: Status = "waiting"
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    note: str = ""
    training: TrainingFigures = field(default_factory=TrainingFigures)
    started: float | None = None
    ended: float | None = None
    expected_s: float | None = None
    """Seconds that the result built last took; None if there is none."""
    first: tuple[float, float] | None = None
    """Time of the first progress of this attempt, and the progress by then."""

    def resume(self) -> None:
        """Note that a stage that waited for machines works again."""
        if self.status == "waiting":
            self.status, self.note = "running", ""

    def rate(self, now: float) -> float | None:
        """Units per second of this attempt; None before there is something to measure."""
        if self.first is None or self.done <= self.first[1] or now <= self.first[0]:
            return None
        return (self.done - self.first[1]) / (now - self.first[0])

    def progress(self, now: float) -> str:
        """Units done, rate and time left."""
        if not self.total:
            return ""
        rate = self.rate(now)
        text = f"{count_text(self.done)}/{count_text(self.total)} {self.unit}"
        if rate is None or self.done >= self.total:
            return text
        return f"{text}, {count_text(rate)}/s, {duration_text((self.total - self.done) / rate)} left"

    def activity(self, now: float) -> str:
        """Newest figures and progress of a running stage."""
        return ", ".join(text for text in (self.training.text, self.progress(now)) if text)

    def seconds(self, now: float) -> float:
        """Seconds that the stage has run so far."""
        return (self.ended or now) - self.started if self.started else 0.0

    def expected_share(self, now: float) -> float:
        """Share of the expected work that is done."""
        if self.status != "running":
            return 0.0 if self.status == "waiting" else 1.0
        if self.total:
            return min(1.0, self.done / self.total)
        return min(0.95, self.seconds(now) / self.expected_s) if self.expected_s else 0.0


@dataclass
class RunRows:
    """All stages of a run by id, inputs first."""

    name: str = ""
    started: float = 0.0
    state: str = ""
    """Activity of the run before its first stage, or while it stops."""
    stages: dict[str, StageRow] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Update the rows by one event."""
        match event["event"]:
            case "run_started":
                self.name, self.started = event.get("name", ""), event.get("time", 0.0)
                self.stages.update(
                    {stage["id"]: StageRow(expected_s=stage.get("expected_s")) for stage in event["stages"]}
                )
            case "connecting":
                self.state = f"connecting to Ray at {event['address']}" if event["address"] else "starting Ray"
            case _ if row := self.stages.get(event.get("stage", "")):
                self.state = ""
                _apply(row, event)

    def with_status(self, *statuses: Status) -> Iterator[tuple[str, StageRow]]:
        """Ids and rows of the stages with one of `statuses`."""
        return ((name, row) for name, row in self.stages.items() if row.status in statuses)

    def time_left(self, now: float) -> float | None:
        """Seconds until the run ends, by the time that the results built last took; None without a basis."""
        building = [row for row in self.stages.values() if row.status != "reused"]
        expected = [row.expected_s for row in building if row.expected_s is not None]
        if not building or len(expected) < len(building):
            return None
        work = sum(expected)
        share = sum(row.expected_share(now) * (row.expected_s or 0.0) for row in building) / work if work else 1.0
        return (now - self.started) * (1.0 - share) / share if share > 0.02 else work


def _apply(row: StageRow, event: Event) -> None:
    match event["event"]:
        case "stage_started":
            row.status, row.started, row.first = "running", event["time"], None
            row.note = f"attempt {event['attempt']}" if event["attempt"] > 1 else ""
        case "waiting":
            row.status, row.note = "waiting", f"for {event['needs']}, {duration_text(event['seconds'])}"
        case "progress":
            row.resume()
            row.done, row.total, row.unit = event["done"], event["total"], event["unit"]
            row.first = row.first or (event["time"], event["done"])
        case "metrics":
            row.resume()
            row.training.take(event["points"])
        case "stage_finished":
            row.status, row.ended = "done", event["time"]
            row.note = result_text(event.get("name", ""), event.get("metrics", {}))
        case "stage_reused":
            row.status = "reused"
            row.note = result_text(event.get("name", ""), event.get("metrics", {}))
        case "stage_failed":
            row.status, row.note, row.ended = "failed", event["error"], event["time"]
        case "stage_skipped":
            row.status, row.note = "skipped", event["because"]
