"""The scores of one checkpoint as a table, with how each task was asked and what was not measured."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from pipelines.artifacts.evaluation import Difference, Score, Scores, interval_text, read_differences, score_text
from pipelines.cli.terminal.console import plain_table, print_text


def print_scores(folder: Path, console: Console) -> None:
    """Every score with its interval, beside chance and the change since the other checkpoint; how each task was asked
    and judged; what its scores should be read with, and what is missing."""
    scores, changes = Scores.read(folder), read_differences(folder)
    table = plain_table("measure", "score", "95 % interval", "n", "chance", "centred", "change")
    for name, score in sorted(scores.scores.items(), key=lambda item: ("/" in item[0], item[0])):
        table.add_row(*_row(name, score, _change(name, scores, changes)))
    console.print()
    console.print(table)
    console.print()
    for name, protocol in scores.protocols.items():
        print_text(console, f"{name}: {protocol}", "dim")
    for name, note in scores.notes.items():
        print_text(console, f"NOTE {name}: {note}", "yellow")
    for name, asked in scores.asked_before.items():
        line = f"ASKED DIFFERENTLY {name}: the other checkpoint, {asked}. No change can be told."
        print_text(console, line, "yellow")
    for name, reason in scores.skipped.items():
        print_text(console, f"NOT MEASURED {name}: {reason}", "yellow")
    print_text(console, f"\nAnswers: {folder}")


def _change(name: str, scores: Scores, changes: Mapping[str, Difference]) -> str:
    """Since the other checkpoint, where both were asked the same."""
    if name.partition("/")[0] in scores.asked_before:
        return "asked differently"
    change = changes.get(name)
    return f"{score_text(change.value, sign=True)}{' (noise)' if change.is_noise else ''}" if change else ""


def _row(name: str, score: Score, change: str) -> tuple[str, ...]:
    above = " (above)" if score.is_above_chance else ""
    chance = f"{score_text(score.chance)}{above}" if score.chance else ""
    centred = score_text(score.centred) if score.chance and score.centred is not None else ""
    return name, score_text(score.value), interval_text(score), f"{score.n:,}", chance, centred, change
