"""How figures look and are written: the same data gives the same bytes."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1d2127"
"""Text and lines; in the page's SVG it becomes the page's own text colour, light or dark."""
COLOURS = ("#4c8dd6", "#e08e45", "#4fa88b", "#c46a9e", "#a89a38", "#d1605e", "#5fb0c4")
"""Of middle lightness, to be read on white and on black."""
MARKERS = "os^D"
"""The next marker if there are more series than colours."""
OVERALL = "#8a7fd4"
"""For series that belong to no corpus."""
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "arctic",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
DPI = 150
CARD_INCHES = (4.7, 2.75)
"""Of a figure: small enough to be read on a phone, so that a wide screen shows two or three side by side."""
NAMES = {
    "text_to_sql": "text to SQL",
    "humaneval_plus": "HumanEval+",
    "mbpp_plus": "MBPP+",
    "spider": "Spider",
    "ifeval": "IFEval",
    "gsm8k": "GSM8K",
    "mmlu": "MMLU",
    "arc_easy": "ARC easy",
    "arc_challenge": "ARC challenge",
    "boolq": "BoolQ",
    "commonsense_qa": "CommonsenseQA",
    "copa": "COPA",
    "hellaswag": "HellaSwag",
    "lambada_openai": "LAMBADA",
    "openbookqa": "OpenBookQA",
    "piqa": "PIQA",
    "race": "RACE",
    "winogrande": "WinoGrande",
}
"""Usual spelling of tasks, if that is not their name with blanks."""


@contextmanager
def figure_style() -> Iterator[None]:
    """matplotlib without a screen, in the report's style."""
    with mpl.rc_context(STYLE):
        yield


def write_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})
    # Finding the layout takes as long as drawing: the SVG of the same figure keeps it.
    figure.set_layout_engine("none")


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element without ids, in the colour of the text around it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip().replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{escape(label)}"', text, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a name, the same in every figure."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(sorted(names))}


def measure_name(kind: str) -> str:
    """A task, or a mean over tasks, as people write it."""
    return NAMES.get(kind, kind.replace("_", " "))


def card() -> tuple[Figure, Axes]:
    """An empty figure with one panel."""
    figure = Figure(figsize=CARD_INCHES)
    return figure, figure.subplots()


def legend_below(figure: Figure, axes: Axes) -> None:
    """The names of the series in rows below the panel, clear of the curves."""
    names = axes.get_legend_handles_labels()[1]
    columns = 3 if max(map(len, names), default=0) < 16 else 2
    figure.legend(loc="outside lower center", ncols=min(columns, max(len(names), 1)), fontsize=8, handlelength=1.4)
