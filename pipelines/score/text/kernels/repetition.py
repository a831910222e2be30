"""Characters of word n-grams that occur several times. `keys`: uint64 by word or n-gram."""

from typing import Any

import numpy as np

from arctic_model.machine_code import compiler
from pipelines.score.text import bits
from pipelines.score.text.bits import MULTIPLIER

compiled = compiler(bits, nogil=True)


@compiled
def place(table: Any, key: Any) -> Any:
    """Index of `key` in the hash table, or of its free slot."""
    slot = np.int64(key >> np.uint64(20)) & (len(table) - 1)
    while table[slot] != 0 and table[slot] != key:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@compiled
def lengthen(keys: Any, words: Any, n: int) -> None:
    """From keys of (n - 1)-grams to keys of n-grams; 0 is not a key, it marks a free slot."""
    for start in range(len(words) - n + 1):
        key = (keys[start] ^ words[start + n - 1]) * MULTIPLIER
        keys[start] = (key ^ (key >> np.uint64(29))) | np.uint64(1)


@compiled
def lengthen_to(keys: Any, words: Any, length: int, n: int) -> int:
    for size in range(length + 1, n + 1):
        lengthen(keys, words, size)
    return n


@compiled
def count_top(keys: Any, ends: Any, n: int, blank: int, table: Any, counts: Any, first: Any) -> Any:
    table[:], counts[:] = 0, 0
    best = 0
    for start in range(len(keys) - n + 1):
        slot = place(table, keys[start])
        if counts[slot] == 0:
            table[slot], first[slot] = keys[start], start
        counts[slot] += 1
        if counts[slot] > counts[best] or (counts[slot] == counts[best] and first[slot] < first[best]):
            best = slot
    return counts[best] * (ends[first[best] + n] - ends[first[best]] + blank * (n - 1)) if counts[best] > 1 else 0


@compiled
def count_duplicate(keys: Any, ends: Any, n: int, table: Any) -> Any:
    table[:] = 0
    total, start = 0, 0
    while start < len(keys) - n + 1:
        slot = place(table, keys[start])
        if table[slot]:
            total += ends[start + n] - ends[start]
            start += n
        else:
            table[slot] = keys[start]
            start += 1
    return total


@compiled
def count(words: Any, ends: Any, top_ngrams: Any, duplicate_ngrams: Any, blank: int, top: Any, duplicate: Any) -> None:
    size = 1
    while size < 2 * len(words):
        size *= 2
    table, counts, first = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    keys = np.zeros(len(words), np.uint64)
    length = 0
    for index in range(len(top_ngrams)):
        length = lengthen_to(keys, words, length, top_ngrams[index])
        top[index] = count_top(keys, ends, top_ngrams[index], blank, table, counts, first)
    for index in range(len(duplicate_ngrams)):
        length = lengthen_to(keys, words, length, duplicate_ngrams[index])
        duplicate[index] = count_duplicate(keys, ends, duplicate_ngrams[index], table)
        if duplicate[index] == 0:
            return  # a longer repeated run would hold a shorter one
