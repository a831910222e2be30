"""Where items of words occur in a text, though not word for word."""

from typing import Any

import numpy as np

from arctic_model.machine_code import compiler

compiled = compiler(nogil=True)


@compiled
def common(item: Any, window: Any) -> int:
    """Length of the longest common subsequence."""
    row = np.zeros(len(window) + 1, np.int64)
    for word in item:
        diagonal = 0
        for index in range(len(window)):
            above = row[index + 1]
            row[index + 1] = diagonal + 1 if window[index] == word else max(above, row[index])
            diagonal = above
    return int(row[len(window)])


@compiled
def align(text: Any, words: Any, offsets: Any, items: Any, shifts: Any, min_share: float) -> Any:
    """(item, share, first word, last word) of the best position of each item that reaches `min_share`. `shifts`:
    positions in the text at which an item would start by each seed, in order within each item."""
    alignments: Any = [(np.int64(0), 0.0, np.int64(0), np.int64(0)) for _ in range(0)]
    start = 0
    while start < len(items):
        item = words[offsets[items[start]] : offsets[items[start] + 1]]
        slack = len(item) // 5 + 2
        best, first, last, looked = 0, 0, 0, -(2**62)
        end = start
        while end < len(items) and items[end] == items[start]:
            # A window reaches `slack` words to both sides, so the next one starts beyond its end.
            if shifts[end] > looked + slack:
                looked = shifts[end]
                low, high = max(0, looked - slack), min(len(text), looked + len(item) + slack)
                length = common(item, text[low:high])
                if length > best:
                    best, first, last = length, low, high - 1
            end += 1
        if best >= min_share * len(item):
            alignments.append((items[start], best / len(item), first, last))
        start = end
    return alignments
