"""The live picture of a run: as many lines as fit the terminal, with running stages always among them."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from pipelines.cli.terminal.live.stage_rows import RunRows, StageRow, Status
from pipelines.cli.terminal.units import duration_text

STYLES: dict[Status, str] = {
    "done": "green",
    "reused": "cyan",
    "running": "bold",
    "failed": "red",
    "skipped": "yellow",
    "waiting": "dim",
}
STATUS_WIDTH = len("running")
BAR_WIDTH = 20
NARROWEST_BAR = 60
"""Terminals with fewer columns get no bar."""
GAP = 2


def frame(rows: RunRows, now: float, width: int, height: int | None = None) -> Text:
    """The picture of a run at the time `now`.

    Failed and running stages come first if lines are scarce, then the stages that ended last; reused and waiting
    stages fold into a line each. Without a `height`, every stage that ended has its line.
    """
    waits = [(name, row) for name, row in rows.with_status("waiting") if row.note]
    queue = [name for name, row in rows.with_status("waiting") if not row.note]
    active = [*rows.with_status("failed"), *rows.with_status("running"), *waits]
    folds = [("reused", [name for name, _ in rows.with_status("reused")]), ("waiting", queue)]
    folds.append(("skipped", [name for name, _ in rows.with_status("skipped")]))
    folded = {label: _fold(label, names, width) for label, names in folds if names}
    ended = sorted(rows.with_status("done"), key=lambda item: item[1].ended or 0.0)
    if height is not None:
        active = _fitting(active, height - 1 - len(folded))
        free = height - 1 - len(folded) - len(active)
        ended = ended[max(0, len(ended) - max(0, free)) :]
    shown = [*ended, *active]
    names = max((cell_len(name) for name, _ in shown), default=0)
    lines = [_header(rows, now, width)]
    lines += [folded["reused"]] if "reused" in folded else []
    lines += [_stage_line(name, row, now, names, width) for name, row in shown]
    lines += [folded[label] for label in ("skipped", "waiting") if label in folded]
    return Text("\n").join(lines)


def _header(rows: RunRows, now: float, width: int) -> Text:
    """Name, progress, elapsed time and time left of the run."""
    total = len(rows.stages)
    ended = sum(1 for _ in rows.with_status("done", "reused"))
    left = rows.time_left(now) if ended < total else None
    parts = [
        f"{ended} of {total} stages",
        duration_text(max(0.0, now - rows.started)),
        rows.state or (f"about {duration_text(left)} left" if left is not None else ""),
    ]
    line = Text().append(rows.name, style="bold")
    if width >= NARROWEST_BAR:
        filled = BAR_WIDTH * ended // max(1, total)
        line.append("  ").append("━" * filled, style="green").append("╌" * (BAR_WIDTH - filled), style="dim")
    line.append("  " + "  ".join(part for part in parts if part))
    return _cropped(line, width)


def _stage_line(name: str, row: StageRow, now: float, name_width: int, width: int) -> Text:
    """Status, id, duration, and the progress or result as far as the width allows."""
    seconds = duration_text(row.seconds(now)) if row.started else ""
    line = Text().append(f"{row.status:<{STATUS_WIDTH}}", style=STYLES[row.status])
    line.append(f"  {set_cell_size(name, name_width)}  {seconds:>12}")
    parts = [row.activity(now) if row.status == "running" else "", row.note.partition("\n")[0]]
    line.append("  " + "  ".join(part for part in parts if part))
    return _cropped(line, width)


def _fold(label: str, names: Sequence[str], width: int) -> Text:
    """All stages of one status in one line, the last ones counted if they do not fit."""
    line = Text(f"{label:<{STATUS_WIDTH}}", style="dim")
    room = width - STATUS_WIDTH - GAP
    text = ", ".join(names)
    shown = len(names)
    while cell_len(text) > room and shown > 1:
        shown -= 1
        text = f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return _cropped(line.append(f"  {text}"), width)


def _fitting(rows: Iterable[tuple[str, StageRow]], limit: int) -> list[tuple[str, StageRow]]:
    return list(rows)[: max(1, limit)]


def _cropped(line: Text, width: int) -> Text:
    """The line, ended by an ellipsis if it is wider than the terminal."""
    line.truncate(width, overflow="ellipsis")
    line.rstrip()
    return line
