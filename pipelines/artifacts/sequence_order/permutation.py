"""A keyed permutation of 0 .. size - 1 that is computed, not stored."""

import hashlib
from functools import lru_cache

import numpy as np

FEISTEL_ROUNDS = 4
U64 = np.uint64
SHIFTS = U64(30), U64(27), U64(31)
FACTORS = U64(0xBF58476D1CE4E5B9), U64(0x94D049BB133111EB)
"""Of the 64-bit finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""


def permute(indices: np.ndarray, size: int, key: str) -> np.ndarray:
    """Images, int64, of `indices` (int64, each in 0 .. size - 1).

    A balanced Feistel network on the next even number of bits, walked until it lands inside (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains", section 3: cycle walking), which takes under four rounds on average.
    """
    if size == 1:
        return np.zeros_like(indices)
    half_bits = max(1, -(-(size - 1).bit_length() // 2))
    round_keys = _round_keys(key)
    values = indices.astype(U64)
    outside = np.arange(len(values))
    while len(outside):
        values[outside] = _encrypt(values[outside], U64(half_bits), round_keys)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _encrypt(values: np.ndarray, half_bits: np.uint64, round_keys: tuple[np.uint64, ...]) -> np.ndarray:
    mask = (U64(1) << half_bits) - U64(1)
    left, right = values >> half_bits, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return left << half_bits | right


@lru_cache(maxsize=1024)
def _round_keys(key: str) -> tuple[np.uint64, ...]:
    block = hashlib.sha256(key.encode()).digest()
    return tuple(U64(int.from_bytes(block[8 * i : 8 * i + 8])) for i in range(FEISTEL_ROUNDS))


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ values >> SHIFTS[0]) * FACTORS[0]
    values = (values ^ values >> SHIFTS[1]) * FACTORS[1]
    mixed: np.ndarray = values ^ values >> SHIFTS[2]
    return mixed
