"""The walk of `due_order` in machine code; imported only where a phase is long enough."""

import numpy as np

from arctic_model.machine_code import compiler


@compiler()
def walk(ranks: np.ndarray, opening: np.ndarray, start: int, corpora: np.ndarray) -> None:
    """As `due_order._walk`. The open ranks are few, so a sorted array holds them."""
    heap = np.empty(len(ranks), dtype=np.int64)
    size, following = 0, 0
    for offset in range(len(corpora)):
        while following < len(ranks) and opening[following] <= start + offset:
            slot = size
            while slot > 0 and heap[slot - 1] < ranks[following]:
                heap[slot] = heap[slot - 1]
                slot -= 1
            heap[slot] = ranks[following]
            size += 1
            following += 1
        size -= 1
        corpora[offset] = heap[size]
