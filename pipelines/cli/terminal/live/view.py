"""The view of a run: a live picture in a terminal, one line per event elsewhere."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from infra.context import Event
from infra.session import OnEvent
from pipelines.cli.terminal.console import print_text
from pipelines.cli.terminal.live.frame import frame
from pipelines.cli.terminal.live.stage_rows import RunRows
from pipelines.cli.terminal.results import result_text
from pipelines.cli.terminal.units import duration_text

LINE_EVERY_S = 10.0
"""Interval between two progress lines of one stage without a live picture."""
WAIT_LINE_EVERY_S = 60.0
"""The same, of a stage that waits for machines."""


@contextmanager
def view(console: Console) -> Iterator[OnEvent]:
    """Show the events of a run: a live picture if `console` is a terminal, else one line per event. An interrupted run
    ends with a line about its last stage and the command to continue."""
    rows = RunRows()
    picture = _Picture(rows)
    live = Live(picture, console=console, refresh_per_second=4, vertical_overflow="visible")
    lines = _Lines(console, rows)

    def show(event: Event) -> None:
        rows.apply(event)
        if event["event"] == "missing_package":
            print_text(console, f"MISSING PACKAGE on this machine, {event['message']}", "yellow")
        elif event["event"] == "store_busy":
            print_text(console, event["message"], "yellow")
        elif not console.is_terminal:
            lines.show(event)
        elif event["event"] == "run_started":
            live.start(refresh=True)
        elif event["event"] in ("warning", "stage_failed"):
            print_text(console, event_text(event), "yellow" if event["event"] == "warning" else "red")

    try:
        with _interrupts_shown(rows):
            yield show
    except KeyboardInterrupt:
        live.stop()
        print_text(console, stop_notice(rows))
        raise
    finally:
        picture.is_last = True
        live.stop()


def stop_notice(rows: RunRows) -> str:
    """The stage at which an interrupted run stopped, and the command to continue it."""
    running = [f"{name} at {row.progress(0.0)}" if row.total else name for name, row in rows.with_status("running")]
    at = f" in {', '.join(running)}" if running else ""
    return f"Stopped{at}. Committed results are safe: run the same command again to continue."


def event_text(event: Event) -> str:
    """One line about an event of a stage."""
    stage = event["stage"]
    match event["event"]:
        case "stage_started":
            again = f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
            return f"{stage}: started{again}"
        case "stage_finished":
            result = result_text(event.get("name", ""), event.get("metrics", {}))
            return f"{stage}: done in {duration_text(event['seconds'])}" + (f": {result}" if result else "")
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


@dataclass
class _Picture:
    """A frame of the run that fits the terminal; the last one, which stays on the screen, holds every stage."""

    rows: RunRows
    is_last: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # rich puts the cursor on the line below the picture.
        height = None if self.is_last else console.height - 1
        yield frame(self.rows, time.time(), options.max_width, height)


@contextmanager
def _interrupts_shown(rows: RunRows) -> Iterator[None]:
    """Report at once that the run stops: ending its workers takes seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(_number: int, _stack: object) -> None:
        rows.state = "stopping the workers"
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class _Lines:
    """Events as lines, progress at intervals."""

    console: Console
    rows: RunRows
    last_progress: dict[str, float] = field(default_factory=dict)
    last_wait: dict[str, float] = field(default_factory=dict)

    def show(self, event: Event) -> None:
        """Print the line of one event, if it is due."""
        row = self.rows.stages.get(event.get("stage", ""))
        if event["event"] in ("metrics", "file") or row is None:
            return
        stage, now = event["stage"], event["time"]
        if event["event"] == "waiting":
            if _due(self.last_wait, stage, now, WAIT_LINE_EVERY_S):
                print_text(self.console, f"{stage}: waiting {row.note}")
        elif event["event"] == "progress":
            if row.done < row.total and _due(self.last_progress, stage, now, LINE_EVERY_S):
                print_text(self.console, f"{stage}: {row.activity(now)}")
        else:
            print_text(self.console, event_text(event))


def _due(last: dict[str, float], stage: str, now: float, interval_s: float) -> bool:
    """Whether a line of the stage is due, which then counts as printed."""
    if now - last.get(stage, 0.0) < interval_s:
        return False
    last[stage] = now
    return True
