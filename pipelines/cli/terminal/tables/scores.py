"""The scores of checkpoints as a table, with the protocol of each task and the tasks that were not measured."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from pipelines.artifacts.comparison import Comparison
from pipelines.artifacts.evaluation import Difference, Score, Scores, interval_text, read_differences, score_text
from pipelines.cli.terminal.console import plain_table, print_text


def print_scores(folder: Path, console: Console) -> None:
    """Every score with its interval, next to chance and the change since the other checkpoint; the protocol of each
    task; notes on its scores; and the missing tasks."""
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
        line = f"ASKED DIFFERENTLY {name}: the other checkpoint, {asked}. The scores cannot be compared."
        print_text(console, line, "yellow")
    for name, reason in scores.skipped.items():
        print_text(console, f"NOT MEASURED {name}: {reason}", "yellow")
    print_text(console, f"\nAnswers: {folder}")


def print_comparison(comparison_folder: Path, evaluations: Mapping[str, Path], console: Console) -> None:
    """Headlines and bits per byte of several checkpoints, one row each, with the change since the previous one."""
    comparison = Comparison.read(comparison_folder)
    scores = {label: Scores.read(evaluations[label]) for label in comparison.order}
    table = plain_table("measure", "checkpoint", "tokens", "score", "95 % interval", "n", "change", "p")
    for name in dict.fromkeys(measure for each in scores.values() for measure in each.compared):
        measured = [number for number, each in enumerate(scores.values()) if name in each.scores]
        for number in measured:
            label = comparison.order[number]
            score = scores[label].scores[name]
            cells = score_text(score.value), interval_text(score), f"{score.n:,}"
            shown = name if number == measured[0] else ""
            table.add_row(shown, label, f"{scores[label].tokens:,}", *cells, *_since(comparison, number, name))
        if mean := comparison.last_mean.get(name) if comparison.num_last > 1 else None:
            label = f"mean of the last {comparison.num_last}"
            table.add_row("", label, "", score_text(mean.value), interval_text(mean), f"{mean.n:,}", "", "")
    console.print()
    console.print(table)
    print_text(console, "\np: paired by item, with Holm's correction for all changes of this table.", "dim")


def _since(comparison: Comparison, number: int, measure: str) -> tuple[str, str]:
    """The change of a measure since the checkpoint before, and its p-value."""
    if measure.partition("/")[0] in comparison.asked_otherwise[number]:
        return "asked differently", ""
    change = comparison.changes[number].get(measure)
    if change is None:
        return "", ""
    noise = " (noise)" if change.is_noise else ""
    return f"{score_text(change.difference.value, sign=True)}{noise}", f"{change.adjusted_p:.2g}"


def _change(name: str, scores: Scores, changes: Mapping[str, Difference]) -> str:
    """Since the other checkpoint, if both have the same protocol."""
    if name.partition("/")[0] in scores.asked_before:
        return "asked differently"
    change = changes.get(name)
    return f"{score_text(change.value, sign=True)}{' (noise)' if change.is_noise else ''}" if change else ""


def _row(name: str, score: Score, change: str) -> tuple[str, ...]:
    above = " (above)" if score.is_above_chance else ""
    chance = f"{score_text(score.chance)}{above}" if score.chance else ""
    centred = score_text(score.centred) if score.chance and score.centred is not None else ""
    return name, score_text(score.value), interval_text(score), f"{score.n:,}", chance, centred, change
