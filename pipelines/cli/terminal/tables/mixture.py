"""A simulated curriculum as a table and a chart."""

import numpy as np
from rich.console import Console
from rich.text import Text

from pipelines.cli.terminal.console import plain_table
from pipelines.mix.simulator import CorpusOfPhase, Simulation, Steps, mixture_over_tokens

CHART_COLUMNS, CHART_ROWS = 72, 12
COLOURS = ("blue", "yellow", "green", "magenta", "cyan", "red", "bright_blue", "bright_yellow", "bright_green",
           "bright_magenta", "bright_cyan", "bright_red")  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def print_mix(simulation: Simulation, console: Console) -> None:
    """Print a table of every phase and corpus, and the mixture over tokens."""
    titles = ("phase", "steps", "corpus", "tokens", "share", "epochs", "first repeat", "runs out")
    table = plain_table(*titles, left=("phase", "corpus"))
    for phase, corpora in simulation.phases:
        heading = [phase.name, f"{phase.first_step:,} - {phase.last_step:,}"]
        for corpus in corpora:
            table.add_row(*heading, *_cells(corpus, phase.tokens))
            heading = ["", ""]
        table.add_section()
    console.print(table)
    console.print(_chart(simulation))


def _cells(corpus: CorpusOfPhase, tokens: int) -> list[str | Text]:
    repeat, runs_out = _named(corpus.first_repeat), Text(_named(corpus.runs_out), style="bold red")
    share = f"{corpus.tokens / tokens:.2%}"
    return [corpus.corpus, f"{corpus.tokens:,}", share, f"{corpus.epochs:.3f}", repeat, runs_out]


def _named(steps: Steps | None) -> str:
    if steps is None:
        return ""
    first, last = steps
    return f"step {first:,}" if first == last else f"step {first:,} to {last:,}"


def _chart(simulation: Simulation) -> Text:
    """Stacked shares: a column is a slice of the tokens, each corpus has a letter and a colour."""
    names = simulation.corpora
    tokens, shares = mixture_over_tokens(simulation)
    middles = (np.arange(CHART_COLUMNS) + 0.5) / CHART_COLUMNS * tokens[-1]
    # Phases meet at two points of the same tokens, so a middle is looked up between points, never across a border.
    columns = np.stack([np.interp(middles, tokens, shares[:, index]) for index in range(len(names))])
    tops = np.cumsum(columns, axis=0)
    chart = Text("\nmixture over tokens\n")
    for row in range(CHART_ROWS):
        height = 1 - (row + 0.5) / CHART_ROWS
        chart.append("100% " if row == 0 else "  0% " if row == CHART_ROWS - 1 else "     ")
        for column in range(CHART_COLUMNS):
            index = min(int((tops[:, column] <= height).sum()), len(names) - 1)
            chart.append(LETTERS[index % len(LETTERS)], style=f"reverse {COLOURS[index % len(COLOURS)]}")
        chart.append("\n")
    chart.append(f"     0{f'{tokens[-1]:.3g} tokens':>{CHART_COLUMNS - 1}}\n     ")
    for index, name in enumerate(names):
        chart.append(LETTERS[index % len(LETTERS)], style=f"reverse {COLOURS[index % len(COLOURS)]}")
        chart.append(f" {name}   ")
    return chart
