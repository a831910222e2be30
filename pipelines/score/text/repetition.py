"""How much of a text repeats itself: Gopher's rules (arXiv 2112.11446, table A1) by lines, paragraphs and word n-grams.

Word n-grams are counted over keys of words, compiled: in plain Python they would take longer than everything else.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS
from pipelines.score.text.characters import MULTIPLIER


def duplicates(keys: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """Number of repeated parts, by their keys, and their characters."""
    _, first = np.unique(keys, return_index=True)
    return len(keys) - len(first), int(lengths.sum() - lengths[first].sum())


def ngram_characters(keys: np.ndarray, lengths: np.ndarray, letters_per_word: int = 1) -> tuple[list[int], list[int]]:
    """Characters (with the blanks inside) of all occurrences of the most frequent n-gram for each of TOP_NGRAMS, the
    first in the text of those that are equally frequent, 0 if none occurs twice; and characters (without blanks) of
    repeated n-grams, for each of DUPLICATE_NGRAMS, read from left to right without overlap.

    `keys`: uint64 by word, equal if words are; `lengths`: their characters. If a word is written as several letters
    without blanks, each of which has a key, an n-gram is n times as many of them.
    """
    # The kernel makes each n-gram's key from the one that is a word shorter, so the lengths ascend.
    top, duplicate = np.zeros(len(TOP_NGRAMS), np.int64), np.zeros(len(DUPLICATE_NGRAMS), np.int64)
    tops, duplicates_ = (np.array(sizes) * letters_per_word for sizes in (TOP_NGRAMS, DUPLICATE_NGRAMS))
    if len(keys) > tops[0]:
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        _kernel()(keys, ends, tops, duplicates_, int(letters_per_word == 1), top, duplicate)
    return top.tolist(), duplicate.tolist()


@cache
def _kernel() -> Callable[..., None]:
    # Imported here: numba takes longer to import than most commands that count nothing take to run.
    from numba import njit

    @njit(nogil=True)
    def place(table: Any, key: Any) -> Any:
        """Index of `key` in the hash table, or of its free slot."""
        slot = np.int64(key >> np.uint64(20)) & (len(table) - 1)
        while table[slot] != 0 and table[slot] != key:
            slot = (slot + 1) & (len(table) - 1)
        return slot

    @njit(nogil=True)
    def lengthen(keys: Any, words: Any, n: int) -> None:
        """From keys of (n - 1)-grams to keys of n-grams; 0 is not a key, it marks a free slot."""
        for start in range(len(words) - n + 1):
            key = (keys[start] ^ words[start + n - 1]) * MULTIPLIER
            keys[start] = (key ^ (key >> np.uint64(29))) | np.uint64(1)

    @njit(nogil=True)
    def lengthen_to(keys: Any, words: Any, length: int, n: int) -> int:
        for size in range(length + 1, n + 1):
            lengthen(keys, words, size)
        return n

    @njit(nogil=True)
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

    @njit(nogil=True)
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

    @njit(nogil=True)
    def count(
        words: Any, ends: Any, top_ngrams: Any, duplicate_ngrams: Any, blank: int, top: Any, duplicate: Any
    ) -> None:
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

    return count
