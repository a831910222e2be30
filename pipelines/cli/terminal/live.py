"""What the user sees of a run: a live table in a terminal, one line per event elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.context import Event
from infra.session import OnEvent
from pipelines.cli.terminal.console import print_text

LINE_EVERY_S = 10.0
"""Between two progress lines of one stage where there is no live table."""
WAIT_LINE_EVERY_S = 60.0
"""The same, of a stage that waits for machines."""


@dataclass
class _Row:
    status: str = "waiting"
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    note: str = ""
    started: float | None = None
    ended: float | None = None
    first: tuple[float, float] | None = None
    """When progress of this attempt was first seen, and how far it was then."""
    last_line: float = field(default=0.0)
    last_wait_line: float = field(default=0.0)

    def resume(self) -> None:
        """A stage that waited for machines works again."""
        if self.status == "waiting":
            self.status, self.note = "running", ""

    def rate(self, now: float) -> float | None:
        """Units per second of this attempt, once there is something to measure."""
        if self.first is None or self.done <= self.first[1] or now <= self.first[0]:
            return None
        return (self.done - self.first[1]) / (now - self.first[0])

    def progress(self, now: float) -> str:
        if not self.total:
            return ""
        rate = self.rate(now)
        text = f"{_count(self.done)}/{_count(self.total)} {self.unit}"
        if rate is None or self.done >= self.total:
            return text
        return f"{text}, {_count(rate)}/s, {_duration((self.total - self.done) / rate)} left"


@contextmanager
def view(console: Console) -> Iterator[OnEvent]:
    """Show the events of a run: a live table if `console` is a terminal, else one line per event."""
    rows: dict[str, _Row] = {}
    live = Live(console=console, refresh_per_second=4, get_renderable=lambda: _table(rows))

    def show(event: Event) -> None:
        match event["event"]:
            case "run_started":
                rows.update({stage["id"]: _Row() for stage in event["stages"]})
                if console.is_terminal:
                    live.start(refresh=True)
            case "missing_package":
                print_text(console, f"MISSING PACKAGE on this machine, {event['message']}", "yellow")
            case _ if not console.is_terminal:
                _print_line(console, rows, event)
            case name:
                _apply(rows, event)
                if name in ("warning", "stage_failed"):
                    print_text(console, _line(event), "yellow" if name == "warning" else "red")

    try:
        yield show
    finally:
        live.stop()


def _apply(rows: dict[str, _Row], event: Event) -> None:
    row = rows.get(event.get("stage", ""))
    if row is None:
        return
    match event["event"]:
        case "stage_started":
            row.status, row.started = "running", event["time"]
            row.first = None
            row.note = f"attempt {event['attempt']}" if event["attempt"] > 1 else ""
        case "waiting":
            row.status, row.note = "waiting", f"for {event['needs']}, {_duration(event['seconds'])}"
        case "progress":
            row.resume()
            row.done, row.total, row.unit = event["done"], event["total"], event["unit"]
            row.first = row.first or (event["time"], event["done"])
        case "metrics":
            row.resume()
            values = event["points"][-1][1] if event["points"] else {}
            if "train/loss" in values:
                row.note = f"loss {values['train/loss']:.3f}"
        case "stage_finished":
            row.status, row.ended = "done", event["time"]
        case "stage_reused":
            row.status = "reused"
        case "stage_failed":
            row.status, row.note = "failed", event["error"]
        case "stage_skipped":
            row.status, row.note = "skipped", event["because"]


def _table(rows: dict[str, _Row]) -> Table:
    now = time.time()
    styles = {
        "done": "green",
        "reused": "cyan",
        "running": "bold",
        "failed": "red",
        "skipped": "yellow",
        "waiting": "dim",
    }
    table = Table(box=None, pad_edge=False, expand=False)
    for title in ("stage", "status", "time", "progress", "note"):
        table.add_column(title, no_wrap=True)
    for stage, row in rows.items():
        seconds = _duration((row.ended or now) - row.started) if row.started else ""
        style = styles[row.status]
        progress = row.progress(now) if row.status == "running" else ""
        table.add_row(_escape(stage), f"[{style}]{row.status}[/]", seconds, progress, _escape(row.note))
    return table


def _print_line(console: Console, rows: dict[str, _Row], event: Event) -> None:
    _apply(rows, event)
    row = rows.get(event.get("stage", ""))
    if event["event"] in ("metrics", "file") or row is None:
        return
    if event["event"] == "waiting":
        if event["time"] - row.last_wait_line >= WAIT_LINE_EVERY_S:
            row.last_wait_line = event["time"]
            print_text(console, f"{event['stage']}: waiting {row.note}")
        return
    if event["event"] == "progress":
        now = event["time"]
        if now - row.last_line >= LINE_EVERY_S and row.done < row.total:
            row.last_line = now
            print_text(console, f"{event['stage']}: {row.progress(now)}")
        return
    print_text(console, _line(event))


def _line(event: Event) -> str:
    stage = event["stage"]
    match event["event"]:
        case "stage_started":
            again = f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
            return f"{stage}: started{again}"
        case "stage_finished":
            return f"{stage}: done in {_duration(event['seconds'])}"
        case "stage_reused":
            return f"{stage}: reused {event['key']}"
        case "stage_failed":
            return f"{stage}: FAILED: {event['error']}"
        case "stage_skipped":
            return f"{stage}: skipped: {event['because']}"
        case "warning":
            return f"{stage}: warning: {event['message']}"
        case other:
            return f"{stage}: {other}"


def _count(number: float) -> str:
    for limit, suffix, divisor in ((1e9, "G", 1e9), (1e6, "M", 1e6), (1e4, "k", 1e3)):
        if number >= limit:
            return f"{number / divisor:.1f}{suffix}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _escape(text: str) -> str:
    """Ids carry brackets, which rich would read as markup."""
    return text.replace("[", "\\[")
