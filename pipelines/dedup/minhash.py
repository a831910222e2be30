r"""Words and shingles of a text, and its MinHash signature.

Words are the longest runs of `\w` characters, each character lower-cased on its own by the first character of Python's
`str.lower`. In scripts without blanks between words each character is a word, marks included. A text is the set of its
runs of `ngram` words, of three if the last is such a character; of all its words as one run if it has fewer; of its raw
bytes if it has none. Two texts with the same words in the same order are exact duplicates.

A run of words is known by a 64-bit hash. Its upper 32 bits go through datasketch's "affine32" permutations to the
signature (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.3).
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from pipelines.artifacts.languages.scripts import IDEOGRAPHS, SYLLABLES

PORTION_BYTES = 2**20
"""Text hashed at a time: its hashes, four times as large, stay near the processor."""
ALONE = np.uint32(1 << 31)
"""Bit of a character in `word_table` that is a word by itself."""
FIELD_BITS = 32
"""Most bits of one signature row that a band word holds."""


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of some texts, text after text. uint64 `hashes`, repeats included; int64 `counts` per text;
    uint64 `digests` [texts, 2] of the words in order."""

    hashes: np.ndarray
    counts: np.ndarray
    digests: np.ndarray


@cache
def word_table() -> np.ndarray:
    """uint32 [0x110000]: the lower-case code point of each word character, with the bit ALONE if it is a word by
    itself; 0 for every other character."""
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    sound = codes[(codes < 0xD800) | (codes >= 0xE000)]
    everything = sound.tobytes().decode("utf-32-le")
    # The two whose lower case has two characters, or depends on the characters around it.
    lower = everything.replace("\u0130", "i").replace("\u03a3", "\u03c3").lower()
    words = np.frombuffer(re.sub(r"\W", "\0", everything).encode("utf-32-le"), np.uint32)
    table = np.zeros(len(codes), np.uint32)
    table[sound] = np.where(words > 0, np.frombuffer(lower.encode("utf-32-le"), np.uint32), 0)
    for first, last in (*IDEOGRAPHS, *SYLLABLES):
        for code in range(first, last + 1):
            # Vowels of Thai and its kin are marks, which no regular expression takes for letters.
            if table[code] or unicodedata.category(chr(code)) in ("Mn", "Mc"):
                table[code] = code | ALONE
    return table


def portions(texts: pa.LargeStringArray) -> Iterator[tuple[int, int]]:
    """Slices [start, stop) of `texts` of up to PORTION_BYTES, or of one text."""
    offsets = _offsets(texts)
    start = 0
    while start < len(texts):
        stop = int(np.searchsorted(offsets, offsets[start] + PORTION_BYTES, side="right")) - 1
        stop = min(max(stop, start + 1), len(texts))
        yield start, stop
        start = stop


def shingle(texts: pa.LargeStringArray, ngram: int) -> Shingles:
    """Hash the shingles of `texts`; memory is four times theirs."""
    from pipelines.dedup.kernels import shingle as kernel

    offsets = _offsets(texts)
    data = texts.buffers()[2]
    # An array of empty texts may come without a buffer.
    data = np.frombuffer(data if data is not None else b"\0", np.uint8)
    hashes = np.empty(int(offsets[-1] - offsets[0]) // 2 + 2 * len(texts), np.uint64)
    counts, digests = np.empty(len(texts), np.int64), np.empty((len(texts), 2), np.uint64)
    written = kernel(data, offsets, word_table(), np.empty(ngram, np.uint64), hashes, counts, digests)
    return Shingles(hashes[:written], counts, digests)


def signatures(shingles: Shingles, num_perm: int, seed: int) -> np.ndarray:
    """uint32 [texts, num_perm]: the share of equal entries of two texts estimates the Jaccard similarity of their
    sets."""
    from pipelines.dedup.kernels import permute

    table = np.empty((len(shingles.counts), num_perm), np.uint32)
    permute(shingles.hashes, shingles.counts, *_permutations(num_perm, seed), table)
    return table


def band_words(signed: np.ndarray, num_bands: int) -> np.ndarray:
    """uint64 [texts, num_bands]: a band in 64 bits, the lowest 64 / rows bits (at most 32) of each of its rows.

    Two texts share a band if the words are equal, with probability (J + (1 - J) / 2^bits)^rows (b-bit minwise hashing,
    Li and König 2010), and 2^-64 for texts with nothing in common: a band word is bucket key and signature in one.
    """
    rows = signed.reshape(len(signed), num_bands, -1)
    bits = min(64 // rows.shape[2], FIELD_BITS)
    words = np.zeros(rows.shape[:2], np.uint64)
    for row in range(rows.shape[2]):
        field = rows[:, :, row].astype(np.uint64) & np.uint64(2**bits - 1)
        words |= field << np.uint64(row * bits)
    return words


def bucket_keys(words: np.ndarray) -> np.ndarray:
    """uint64 [texts, num_bands]: band words with the band mixed in, spread evenly over all 64-bit numbers.

    One to one within a band (MurmurHash3's finaliser); words of two bands meet once in 2^64 pairs.
    """
    keys = words + np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys ^= keys >> np.uint64(33)
        keys *= np.uint64(multiplier)
    return keys ^ (keys >> np.uint64(33))


@cache
def _permutations(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from datasketch import MinHash

    a, b = MinHash(num_perm, seed=seed, scheme="affine32").permutations
    return a.astype(np.uint32), b.astype(np.uint32)


def _offsets(texts: pa.LargeStringArray) -> np.ndarray:
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
