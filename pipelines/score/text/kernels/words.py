"""Words of a text with their folded hashes."""

import numpy as np

from arctic_model.machine_code import compiler
from pipelines.score.text import bits
from pipelines.score.text.bits import MULTIPLIER

compiled = compiler(bits, nogil=True)


@compiled
def find_words(codes: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = len(codes) // 2 + 1
    hashes, starts, ends = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    count, key, start = 0, np.uint64(0), -1
    for index in range(len(codes) + 1):
        folded = folds[codes[index]] if index < len(codes) else np.uint32(0)
        if folded:
            if start < 0:
                start, key = index, np.uint64(0)
            key = (key ^ np.uint64(folded)) * MULTIPLIER
            key ^= key >> np.uint64(32)
        elif start >= 0:
            hashes[count], starts[count], ends[count] = key, start, index
            count += 1
            start = -1
    return hashes[:count], starts[:count], ends[:count]
