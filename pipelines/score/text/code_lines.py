"""Lines of a text that are program code, detected by their marks and by the lines around them, in compiled passes.

Extracted pages and plain files have no fences, so a line is judged by itself (brackets, operators, calls, against the
number of plain words) and counts as code if its neighbours do.
"""

from functools import cache

import numpy as np

from pipelines.score.text.bits import END, JOINT, OPEN_CLOSE, OPERATOR, OTHER, QUOTE, VARIABLE
from pipelines.score.text.characters import kinds
from pipelines.score.text.layout import Layout


def code_lines(codes: np.ndarray, layout: Layout) -> np.ndarray:
    """bool for each line of a layout: whether it is code."""
    from pipelines.score.text.kernels.code_lines import find

    if not len(layout.line_starts):
        return np.zeros(0, bool)
    found: np.ndarray = find(codes, kinds(), char_table(), layout.line_starts, layout.line_lengths)
    return found


@cache
def char_table() -> np.ndarray:
    """uint8 by ASCII code point: the kind of a mark in code."""
    table = np.zeros(128, np.uint8)
    marks = {
        OPEN_CLOSE: "{}[]()",
        END: ";",
        OPERATOR: "=<>\\|&^",
        QUOTE: "\"'`",
        JOINT: "_",
        VARIABLE: "$",
        OTHER: ",./*:",
    }
    for bit, members in marks.items():
        table[[ord(member) for member in members]] |= bit
    return table
