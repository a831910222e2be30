"""Directions as whole numbers, so that every sum and product of them is exact.

A direction is an int16 vector of length SCALE, rounded. The product of two is a sum of whole numbers. No partial sum
exceeds the square of the length (Cauchy and Schwarz), which is below 2^24, so float32 holds them all. A matrix product
in float32 is therefore exact in any order and with any number of threads, and the same documents are duplicates on
every machine. Rounding changes a cosine similarity by about 1e-4.
"""

from collections.abc import Iterator

import numpy as np

SCALE = 4000
"""Length of a direction: the square of it and of the error of rounding stays below 2^24 up to MAX_WIDTH."""
MAX_WIDTH = 2**14
"""Largest D: squares of numbers below 2^24 add up to less than 2^63, and SCALE to less than 4,096 with rounding."""
_BITS = 24
BLOCK_ENTRIES = 2**22
"""Entries of a matrix product that are held at a time: 16 MB."""


def directions(sums: np.ndarray) -> np.ndarray:
    """int16 [N, D]: the directions of int64 vectors [N, D]; zeros for one without a direction."""
    largest = np.abs(sums).max(axis=1, initial=0)
    # float64 counts the bits of numbers below 2^53 exactly, and of larger ones to within one.
    excess = np.maximum(np.frexp(largest.astype(np.float64))[1] - _BITS, 0)
    reduced = sums >> excess[:, None]
    squares = (reduced * reduced).sum(axis=1)
    length = np.sqrt(np.maximum(squares, 1).astype(np.float64))
    rounded: np.ndarray = np.rint(reduced * (SCALE / length)[:, None]).astype(np.int16)
    return rounded


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """int64 [N]: of int16 vectors [N, D]."""
    wide = vectors.astype(np.int64)
    squares: np.ndarray = (wide * wide).sum(axis=1)
    return squares


def products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32 [N, M], exact: products of float32 vectors [N, D] and [M, D] that hold directions."""
    result: np.ndarray = one @ other.T
    return result


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` whose products with `columns` vectors fill BLOCK_ENTRIES."""
    size = max(1, BLOCK_ENTRIES // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
