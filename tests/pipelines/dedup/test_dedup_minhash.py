"""Signatures are datasketch's over hashes restated in plain Python; words are the definition's; estimates hold."""

import itertools
import random
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.dedup import minhash
from pipelines.dedup.minhash import band_words, bucket_keys, portions, shingle, signatures

WORD_POOL = [f"word{n}" for n in range(400)]
TEXTS = st.text(st.sampled_from("aB zé\u0130ßΣσς東京_-1ไทย์၊ကျ\t\u00a0\U0001f600\U00010400\u0301"), max_size=40)
MASK = 2**64 - 1


def some_text(seed: int, length: int = 300) -> str:
    return " ".join(random.Random(seed).choices(WORD_POOL, k=length))


def edited(text: str, seed: int, share: float) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORD_POOL) if draw.random() < share else word for word in text.split())


def array(texts) -> pa.LargeStringArray:
    return pa.array(list(texts), pa.large_string())


def fmix64(value: int) -> int:
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value ^= value >> 33
        value = value * multiplier & MASK
    return value ^ (value >> 33)


def mixed(symbols, start: int) -> int:
    for symbol in symbols:
        start = (start ^ symbol) * 0x9E3779B97F4A7C15 & MASK
        start ^= start >> 29
    return start


def hashes_by_definition(text: str, ngram: int, oracle) -> list[int]:
    """64-bit hashes of the shingles in order, one Python integer at a time."""
    base = 0xD6E8FEB86659FD93
    words = oracle.words_of(text)
    if not words:
        return [fmix64(mixed(text.encode(), base))]
    result = []
    for run in oracle.runs_of(words, ngram):
        rolling = 0
        for word in run:
            rolling = (rolling * base + mixed(map(ord, word), 0)) & MASK
        result.append(fmix64(rolling))
    return result


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 6))
@example(["", "!", " \n", "İİ ΑΣ ς", "ﬃ Ⅷ ẞ"], 2)
def test_shingle_hashes_are_the_definition(oracle, texts, ngram):
    result = shingle(array(texts), ngram)
    expected = [hashes_by_definition(text, ngram, oracle) for text in texts]
    assert result.counts.tolist() == [len(hashes) for hashes in expected]
    assert result.hashes.tolist() == [value for hashes in expected for value in hashes]


def test_the_table_of_words_is_python_for_every_character(oracle):
    table = minhash.word_table() & ~minhash.ALONE
    for code in range(sys.maxunicode + 1):
        words = oracle.words_of(chr(code))
        assert table[code] == (ord(words[0]) if words else 0)


def test_ten_thousand_signatures_are_those_of_datasketch():
    """Made-up texts and the modules of the standard library, cut into pieces of all lengths."""
    draw = random.Random(0)
    texts = [some_text(n, draw.randint(1, 30)) for n in range(8000)]
    for path in itertools.cycle(sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))):
        text = path.read_text(encoding="utf-8")
        start = draw.randrange(len(text))
        texts.append(text[start : start + draw.randint(0, 600)])
        if len(texts) == 10_000:
            break
    shingles = shingle(array(texts), 5)
    hashes = np.split((shingles.hashes >> np.uint64(32)).astype(np.uint32), np.cumsum(shingles.counts)[:-1])
    table = signatures(shingles, 128, seed=7)
    from datasketch import MinHash

    blank = MinHash(128, seed=7, scheme="affine32", hashfunc=int)
    for row, values in zip(table, hashes, strict=True):
        sketch = blank.copy()
        sketch.update_batch(values.tolist())
        assert np.array_equal(sketch.hashvalues, row)


def test_a_signature_does_not_depend_on_the_texts_around_it():
    texts = array(some_text(n, 50) for n in range(6))
    together = signatures(shingle(texts, 5), 16, 1)
    assert (signatures(shingle(texts.slice(2, 3), 5), 16, 1) == together[2:5]).all()
    assert not (together == signatures(shingle(texts, 5), 16, 2)).all()


def test_signatures_estimate_the_jaccard_of_the_texts(oracle):
    pairs = [(some_text(n), edited(some_text(n), n, 0.002 * n)) for n in range(30)]
    exact = np.array([oracle.jaccard(oracle.shingles(a, 5), oracle.shingles(b, 5)) for a, b in pairs])
    estimate = [(one == other).mean() for one, other in (signatures(shingle(array(p), 5), 256, 1) for p in pairs)]
    assert 0.2 < exact.min() < exact.max() == 1
    # The standard error of 256 permutations is at most 1 / 32.
    assert np.abs(exact - estimate).max() < 4 / 32
    assert abs((exact - estimate).mean()) < 0.015


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a  b\n\nc", " a b, C ", True),
        ("ÉTÉ", "été", True),
        ("a b", "ab", False),
        ("a b", "b a", False),
        ("a", "a a", False),
        ("", "", True),
        ("", " ", False),
        ("!", "?", False),
        ("!", "a", False),
    ],
)
def test_digests_are_equal_for_the_same_words_in_order(one, other, same):
    digests = shingle(array([one, other]), 5).digests
    assert (digests[0] == digests[1]).all() == same


@pytest.mark.parametrize(("num_bands", "rows"), [(16, 8), (6, 3), (4, 13), (3, 1), (2, 32)])
def test_a_band_word_holds_the_low_bits_of_its_rows(num_bands, rows):
    signed = np.random.default_rng(0).integers(0, 2**32, (50, num_bands * rows), dtype=np.uint64).astype(np.uint32)
    signed[25:] = np.where(np.random.default_rng(1).random((25, num_bands * rows)) < 0.9, signed[:25], signed[25:])
    words = band_words(signed, num_bands)
    bits = min(64 // rows, 32)
    low = (signed & np.uint32(2**bits - 1)).reshape(50, num_bands, rows)
    for one, other in itertools.combinations(range(50), 2):
        assert ((words[one] == words[other]) == (low[one] == low[other]).all(axis=1)).all()
    keys = bucket_keys(words)
    assert len(np.unique(keys)) == len({(band, word) for row in words.tolist() for band, word in enumerate(row)})


def test_portions_cover_all_texts_in_order(monkeypatch):
    monkeypatch.setattr(minhash, "PORTION_BYTES", 100)
    texts = array(["a" * size for size in (0, 99, 1, 250, 0, 30, 30, 30, 30)]).slice(1)
    result = list(portions(texts))
    assert [start for start, _ in result] == [0, *(stop for _, stop in result[:-1])] and result[-1][1] == len(texts)
    assert all(stop - start == 1 or sum(map(len, texts[start:stop].to_pylist())) <= 100 for start, stop in result)
    assert list(portions(texts.slice(0, 0))) == []
