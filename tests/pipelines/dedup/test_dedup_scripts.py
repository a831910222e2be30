"""Near duplicates in scripts without blanks between words: a changed character costs the runs around it, no clause."""

import json
import random

import pyarrow as pa
import pytest

from pipelines.dedup.deduplicate import deduplicate
from tests.kit.real_data import REAL_CASES

LETTERS = {
    "Han": [*range(0x4E00, 0x5000)],
    "kana": [*range(0x3041, 0x3094), *range(0x30A1, 0x30F7)],
    "Thai": [*range(0x0E01, 0x0E2F), *range(0x0E30, 0x0E3B), *range(0x0E40, 0x0E4A)],
    "Khmer": [*range(0x1780, 0x17A3), *range(0x17B6, 0x17C9)],
    "Burmese": [*range(0x1000, 0x1021), *range(0x102B, 0x1039)],
}
CASES = REAL_CASES / "dedup_cjk_pairs.json"


def kept(*texts: str) -> list[bool]:
    return deduplicate(pa.table({"text": list(texts)}))["keep"].to_pylist()


@pytest.mark.parametrize("script", LETTERS)
def test_a_few_changed_characters_make_a_near_duplicate(script: str) -> None:
    draw = random.Random(script)
    letters = draw.choices(LETTERS[script], k=600)
    text = "".join(map(chr, letters))
    for location in range(0, 600, 100):
        letters[location] = draw.choice(LETTERS[script])
    other = "".join(map(chr, draw.choices(LETTERS[script], k=600)))
    assert sorted(kept(text, "".join(map(chr, letters)), other)) == [False, True, True]


def test_marks_tell_words_of_thai_apart() -> None:
    """The same consonants with other vowels and tones."""
    consonants = random.Random(0).choices(LETTERS["Thai"][:46], k=300)
    marks = [random.Random(n).choices([0x0E34, 0x0E35, 0x0E36, 0x0E37, 0x0E38, 0x0E39], k=300) for n in range(2)]
    texts = [
        "".join(f"{chr(letter)}{chr(mark)}" for letter, mark in zip(consonants, each, strict=True)) for each in marks
    ]
    assert kept(*texts) == [True, True]


def test_line_breaks_and_punctuation_do_not_tell_texts_apart() -> None:
    text = "".join(map(chr, random.Random(0).choices(LETTERS["Han"], k=300)))
    wrapped = "\n".join(text[start : start + 40] for start in range(0, 300, 40))
    assert sorted(kept(text, wrapped + "。")) == [False, True]


@pytest.mark.skipif(not CASES.exists(), reason="the pairs lie beside the repository")
def test_pairs_of_three_languages_are_near_duplicates() -> None:
    for pair in json.loads(CASES.read_text(encoding="utf-8")):
        assert sorted(kept(pair["first"], pair["second"])) == [False, True], pair["language"]
