"""Warnings of results, repeated by every plan and run that uses them. Imports nothing heavy: `arctic --help` does."""

from collections.abc import Sequence

from rich.console import Console

from pipelines.cli.terminal.console import print_text

WARNINGS_SHOWN = 12


def print_warnings(warnings: Sequence[tuple[str, str]], console: Console) -> None:
    """Print the warnings of stages from when they were built, each message once."""
    first = {message: stage for stage, message in reversed(warnings)}
    if first:
        noun = "warning" if len(first) == 1 else "warnings"
        print_text(console, f"\n{len(first)} {noun} of these results, which the report repeats:", "yellow")
    for message, stage in list(reversed(first.items()))[:WARNINGS_SHOWN]:
        print_text(console, f"  {stage}: {message}", "yellow")
    if len(first) > WARNINGS_SHOWN:
        print_text(console, f"  and {len(first) - WARNINGS_SHOWN} more")
