"""Signatures are datasketch's, shingles are sets of word n-grams, and bands find what their theory says."""

import itertools
import random

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dedup.minhash import jaccard, shingle_hashes, shingles, signatures
from pipelines.dedup.signing import band_keys, exact_digest

WORDS = [f"word{n}" for n in range(400)]


def some_text(seed: int, length: int = 300) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def edited(text: str, seed: int, share: float) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A b, C! d", {("a", "b", "c"), ("b", "c", "d")}),
        ("a a a a a", {("a", "a", "a")}),
        ("two words", {("two", "words")}),
        ("Straße_1 ÉTÉ 東京", {("straße_1", "été", "東京")}),
        ("!?", {()}),
        ("", {()}),
    ],
)
def test_shingles_are_lower_cased_word_ngrams(text, expected):
    assert shingles(text, 3) == expected


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), st.integers(1, 4))
def test_different_shingles_have_different_hashes_and_equal_ones_the_same(words, ngram):
    text = " ".join(words)
    assert len(shingle_hashes(text, ngram, {})) == len(shingles(text, ngram))
    assert (shingle_hashes(text, ngram, {}) == shingle_hashes(text.upper() + "!", ngram, {"z": 1})).all()


def test_signatures_are_those_of_datasketch_one_shingle_at_a_time():
    texts = [some_text(1), some_text(2, 20_000), "short", "", some_text(3, 5)]
    table = signatures(texts, 5, 32, seed=7)
    for text, row in zip(texts, table, strict=True):
        oracle = MinHash(32, seed=7, scheme="affine32", hashfunc=int)
        for value in shingle_hashes(text, 5, {}).tolist():
            oracle.update(value)
        assert (oracle.hashvalues == row).all()


def test_a_signature_does_not_depend_on_the_texts_around_it():
    texts = [some_text(n, 50) for n in range(6)]
    together = signatures(texts, 5, 16, 1)
    assert (together[::-1] == signatures(texts[::-1], 5, 16, 1)).all()
    assert not (together == signatures(texts, 5, 16, 2)).all()


def test_signatures_estimate_the_jaccard_of_the_texts():
    pairs = [(some_text(n), edited(some_text(n), n, 0.002 * n)) for n in range(30)]
    exact = np.array([jaccard(shingles(a, 5), shingles(b, 5)) for a, b in pairs])
    estimate = [(one == other).mean() for one, other in (signatures(pair, 5, 256, 1) for pair in pairs)]
    assert 0.2 < exact.min() < exact.max() == 1
    # The standard error of 256 permutations is at most 1 / 32.
    assert np.abs(exact - estimate).max() < 4 / 32
    assert abs((exact - estimate).mean()) < 0.015


def test_jaccard_is_shared_over_all():
    assert jaccard({(1,), (2,), (3,)}, {(2,), (3,), (4,)}) == 0.5
    assert jaccard({()}, {()}) == 1 and jaccard({()}, {("a",)}) == 0


def test_a_band_key_is_equal_where_all_rows_of_the_band_are():
    draw = np.random.default_rng(0)
    signed = draw.integers(0, 2, (200, 12)).astype(np.uint32)
    keys = band_keys(signed, 4)
    assert keys.shape == (200, 4)
    for band, (one, other) in itertools.product(range(4), itertools.combinations(range(60), 2)):
        same = (signed[one, 3 * band : 3 * band + 3] == signed[other, 3 * band : 3 * band + 3]).all()
        assert (keys[one, band] == keys[other, band]) == same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a  b\n\nc", " a b c ", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("a b", "ab", False),
        ("A b", "a b", False),
    ],
)
def test_exact_digests_ignore_blanks_and_unicode_spelling_only(one, other, same):
    assert (exact_digest(one) == exact_digest(other)) == same
