r"""Shingles and MinHash signatures of texts.

A text is the set of its word n-grams, words being `\w+` of the lower-cased text. Signatures are datasketch's
"affine32" scheme over 32-bit hashes of the shingles (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.3).
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming 3, 6.4)."""
SHINGLES_PER_UPDATE = 8192
"""Shingles permuted at a time: 4 MB for 128 permutations, however long the text is."""


def words_of(text: str) -> list[str]:
    """Words in order, lower-cased."""
    return _WORD.findall(text.lower())


def shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
    """The text's word n-grams; all its words as the one shingle where there are fewer than `ngram`."""
    words = words_of(text)
    if len(words) < ngram:
        return {tuple(words)}
    return set(zip(*(words[start:] for start in range(ngram)), strict=False))


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Shared shingles as a fraction of all; two sets are never both empty."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def signatures(texts: Sequence[str], ngram: int, num_perm: int, seed: int) -> np.ndarray:
    """uint32 [len(texts), num_perm]: equal in the share of places that is the Jaccard of the shingle sets."""
    from datasketch import MinHash

    blank = MinHash(num_perm, seed=seed, scheme="affine32", hashfunc=int)
    table = np.empty((len(texts), num_perm), dtype=np.uint32)
    known: dict[str, int] = {}
    for row, text in enumerate(texts):
        sketch = blank.copy()
        hashes = shingle_hashes(text, ngram, known)
        for start in range(0, len(hashes), SHINGLES_PER_UPDATE):
            sketch.update_batch(hashes[start : start + SHINGLES_PER_UPDATE].tolist())
        table[row] = sketch.hashvalues
    return table


def shingle_hashes(text: str, ngram: int, known: dict[str, int]) -> np.ndarray:
    """uint32: a hash of each different shingle. `known` remembers the hashes of words from text to text."""
    words = words_of(text)
    hashes = np.fromiter((known.get(word) or _remember(word, known) for word in words), np.uint64, len(words))
    size = min(ngram, len(words))
    mixed = np.zeros(len(words) - size + 1, dtype=np.uint64)
    for start in range(size):
        mixed = (mixed ^ hashes[start : start + len(mixed)]) * MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def _remember(word: str, known: dict[str, int]) -> int:
    value = int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest())
    known[word] = value
    return value
