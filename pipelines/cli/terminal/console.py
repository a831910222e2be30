"""The console that commands print on."""

import errno
import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WAIT_LINE_S = 30.0


class OutputConsole(Console):
    """A console whose closed pipe is an error as any other: Rich's own exits with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def standard_output() -> Console:
    """A console on standard output; a file or pipe has no width, so that a reason stays on one searchable line."""
    return OutputConsole(highlight=False, width=None if sys.stdout.isatty() else 240)


def print_text(console: Console, text: str, style: str | None = None) -> None:
    """Print text as it is: no markup, no wrapping."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class WaitLines:
    """Prints for whom a command waits (`infra.store.locks.Waiting`): at once, and then every half minute."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, holder: str, seconds: float) -> None:
        if seconds >= self._next_s:
            self._next_s = seconds + WAIT_LINE_S
            print_text(standard_output(), f"waiting for {holder}, {seconds:.0f} s")


def print_fields(console: Console, fields: Mapping[str, Any]) -> None:
    """Print one line per field, values aligned."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        print_text(console, f"{name:<{width}}  {value}")


def plain_table(*titles: str, left: tuple[str, ...] | None = None) -> Table:
    """A table without a frame; columns outside `left` are aligned right, by default all but the first."""
    left = titles[:1] if left is None else left
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in left else "right", no_wrap=True)
    return table
