"""How much of a text repeats itself: Gopher's rules (arXiv 2112.11446, table A1) by lines, paragraphs and word n-grams.

Word n-grams are counted over keys of words, compiled: in plain Python they would take longer than everything else.
"""

import numpy as np

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS


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
        from pipelines.score.text.kernels.repetition import count

        count(keys, ends, tops, duplicates_, int(letters_per_word == 1), top, duplicate)
    return top.tolist(), duplicate.tolist()
