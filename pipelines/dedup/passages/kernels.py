"""Keys of words, lines and runs of words, compiled by numba; imported only if there is work to do."""

import numpy as np

from arctic_model.machine_code import compiler
from pipelines.dedup import kernels
from pipelines.dedup.kernels import BASE, GOLDEN, S29, fmix64

BLANK, NEWLINE, ALONE = np.uint8(1), np.uint8(2), np.uint8(3)
"""Kinds of characters; one that is ALONE is a word by itself."""
_ZERO, _ONE = np.uint64(0), np.uint64(1)

compiled = compiler(kernels, nogil=True)


@compiled
def word_keys(codes, kinds):  # type: ignore[no-untyped-def]
    """Words between blanks: uint64 keys, first characters, last characters (not included).

    `codes`: uint32 code points; `kinds`: uint8 by code point.
    """
    keys = np.empty(len(codes), np.uint64)
    starts, ends = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
    count, start, key = 0, -1, _ZERO
    for index in range(len(codes) + 1):
        kind = kinds[codes[index]] if index < len(codes) else BLANK
        if start >= 0 and kind != 0:
            keys[count], starts[count], ends[count] = fmix64(key), start, index
            count += 1
            start = -1
        if kind == ALONE:
            keys[count], starts[count], ends[count] = fmix64(np.uint64(codes[index]) * GOLDEN), index, index + 1
            count += 1
        elif kind == 0:
            if start < 0:
                start, key = index, _ZERO
            key = (key ^ np.uint64(codes[index])) * GOLDEN
            key ^= key >> S29
    return keys[:count], starts[:count], ends[:count]


@compiled
def run_keys(keys, size):  # type: ignore[no-untyped-def]
    """uint64 keys of every run of `size` words, by its first word."""
    power = _ONE
    for _ in range(size):
        power *= BASE
    runs = np.empty(max(0, len(keys) - size + 1), np.uint64)
    rolling = _ZERO
    for index in range(len(keys)):
        rolling = rolling * BASE + keys[index]
        if index >= size:
            rolling -= keys[index - size] * power
        if index >= size - 1:
            runs[index - size + 1] = fmix64(rolling)
    return runs


@compiled
def line_keys(codes, kinds, keys, starts, ends, min_words):  # type: ignore[no-untyped-def]
    """Lines of at least `min_words` words: keys of their words in order, first and last characters."""
    lines = np.empty(len(keys), np.uint64)
    firsts, lasts = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    count, word = 0, 0
    while word < len(keys):
        begin, key = word, _ZERO
        while True:
            key = key * BASE + keys[word]
            word += 1
            if word == len(keys):
                break
            is_new = False
            for index in range(ends[word - 1], starts[word]):
                is_new |= kinds[codes[index]] == NEWLINE
            if is_new:
                break
        if word - begin >= min_words:
            lines[count], firsts[count], lasts[count] = fmix64(key), starts[begin], ends[word - 1]
            count += 1
    return lines[:count], firsts[:count], lasts[:count]
