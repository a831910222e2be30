"""Scores of a text against the rules' own words, and against counting by hand with Python's own strings."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, SCORES, TOP_NGRAMS
from pipelines.score.text.bits import IDEOGRAPH, SYLLABLE
from pipelines.score.text.characters import Characters, kinds
from pipelines.score.text.language import Language
from pipelines.score.text.layout import layout
from pipelines.score.text.prose import prose_scores
from pipelines.score.text.repetition import ngram_characters

COLUMNS = SCORES.names[SCORES.names.index("words") : SCORES.names.index("listed_url")]
LOOKS = "a\nb \n\n\n\tB-·•…... #.!?\"')]([1] é中文かกข\u0e31。_\u00a0\u2003\u2028 7,{"
texts = st.text(st.sampled_from(LOOKS) | st.characters(), max_size=120)


def score(text: str, language: str = "en") -> dict[str, float | None]:
    characters = Characters(text)
    return prose_scores(characters, layout(characters.codes), Language(language, 1.0, False))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("one two three", "words", 3),
        ("one two three", "mean_word_length", 11 / 3),
        ("한국 말", "mean_word_length", 6 / 2),
        ("# a b c", "symbol_to_word_ratio", 1 / 4),
        ("a... b… c d", "symbol_to_word_ratio", 2 / 4),
        ("# a... # b", "symbol_to_word_ratio", 2 / 4),
        ("• a\n- b\n\nc\n  * d", "bullet_lines_fraction", 3 / 4),
        ("a...\nb …\nc", "ellipsis_lines_fraction", 2 / 3),
        ("a 1 (b) 2-c-3 --- 4", "alpha_words_fraction", 3 / 6),
        ("naïve 中文 _x_ __ 7_8", "alpha_words_fraction", 4 / 6),
        ("The cat and THE dog have that", "stop_words", 4),
        ("a\nb\na\n\na\n", "duplicate_line_fraction", 2 / 4),
        ("aa\nb\naa\n\naa\n", "duplicate_line_characters_fraction", 4 / 7),
        ("aa\nb\n\naa\nb\n\n\nc", "duplicate_paragraph_fraction", 1 / 3),
        ("aa\nb\n\naa\nb\n\n\nc", "duplicate_paragraph_characters_fraction", 4 / 14),
        ("a b c a b", "top_2gram_fraction", 6 / 9),
        ("a b c d e f a b c d e", "duplicate_5gram_fraction", 5 / 21),
        ("Lorem IPSUM dolor", "lorem_ipsum", True),
        ("x = {1}", "curly_brackets", True),
        ("Ends here.\nNot here", "punctuated_lines_fraction", 1 / 2),
        (f"{'x' * 30}\n{'x' * 31}", "short_lines_fraction", 1 / 2),
        ("a b\nc\n\nd", "newlines_per_word", 3 / 4),
        ("We use cookies here.\nNothing here is odd.", "policy_lines_fraction", 1 / 2),
        ("Turn on JavaScript now.\nNothing here is odd.", "javascript_lines_fraction", 1 / 2),
    ],
)
def test_a_score_is_what_its_rule_says(text, name, value):
    assert score(text)[name] == pytest.approx(value)


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("It is so. Is it? It is!", 3),
        ('He said "so it is."', 1),
        ("Version 1.2 came out. It was late", None),
        ("It ends with a note.[12]", 1),
        ("It ends with two notes.[1][citation needed]", 1),
        ("It goes on and on...", None),
        ("Too short.", None),
        (f"A word of {'x' * 1001} is none.", None),
        ("JavaScript has to be on.", None),
        ("Read our terms of use today.", None),
    ],
)
def test_c4_keeps_lines_by_their_form(line, sentences):
    result = score(line)
    assert result["c4_sentences"] == (sentences or 0)
    assert result["c4_dropped_lines_fraction"] == (sentences is None)


def test_a_text_without_words_scores_nothing():
    for text in ("", " \n\t\n"):
        result = score(text)
        assert list(result) == COLUMNS
        assert set(result.values()) == {0}


UNSPACED = (
    *("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HENTAIGANA", "HALFWIDTH KATAKANA"),
    *("BOPOMOFO", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "TAI LE", "NEW TAI LUE", "TAI THAM", "TAI VIET"),
    *(
        "BALINESE",
        "JAVANESE",
        "AHOM",
        "VERTICAL KANA",
        "VERTICAL IDEOGRAPHIC",
        "IDEOGRAPHIC ITERATION",
        "IDEOGRAPHIC CLOSING",
        "MASU",
    ),
    *("HALFWIDTH KATAKANA-HIRAGANA", "KATAKANA-HIRAGANA"),
)


def is_unspaced(character: str) -> bool:
    """By its name in Unicode."""
    return character.isalpha() and unicodedata.name(character, "").startswith(UNSPACED)


def units(text: str) -> list[str]:
    """Words between blanks, cut before each letter that is no part of a longer word."""
    result: list[str] = []
    for word in text.split():
        result.append("")
        for character in word:
            ends = is_unspaced(character) or (character.isalpha() and any(map(is_unspaced, result[-1])))
            if ends and any(map(str.isalpha, result[-1])):
                result.append("")
            result[-1] += character
    return result


def test_scripts_without_blanks_are_those_of_their_names():
    reported = (kinds() & (IDEOGRAPH | SYLLABLE)) != 0
    named = np.array([is_unspaced(chr(code)) for code in range(0x20000)])
    # Python's names are of another version of Unicode than the blocks: a character without a name there is not a letter
    # either.
    assert [hex(code) for code in np.flatnonzero(reported[:0x20000] != named)] == []


@settings(max_examples=200, deadline=None)
@given(texts)
def test_words_lines_and_paragraphs_are_those_of_python_strings(text):
    result = layout(Characters(text).codes)
    words = units(text)
    assert result.word_lengths.tolist() == [len(word) for word in words]
    assert [text[a : a + n] for a, n in zip(result.word_starts, result.word_lengths, strict=True)] == words
    assert result.word_letters.tolist() == [any(map(str.isalpha, word)) for word in words]
    assert [words.index(word) for word in words] == _first_same(result.word_keys)
    lines = [line for line in text.split("\n") if line.strip()]
    assert result.line_lengths.tolist() == [len(line) for line in lines]
    assert [lines.index(line) for line in lines] == _first_same(result.line_keys)
    assert result.line_bullet.tolist() == [line.strip().startswith(tuple("•‣◦▪●○*-–·")) for line in lines]
    assert result.line_ellipsis.tolist() == [line.strip().endswith(("...", "…")) for line in lines]
    paragraphs = re.split(r"\n{2,}", text.strip())
    assert result.paragraph_lengths.tolist() == [len(paragraph) for paragraph in paragraphs]
    assert [paragraphs.index(paragraph) for paragraph in paragraphs] == _first_same(result.paragraph_keys)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_folded_words_are_runs_of_letters_digits_and_underscores(text):
    words = Characters(text).words
    matches = list(re.finditer(r"\w+", text))
    assert list(zip(words.starts, words.ends, strict=True)) == [match.span() for match in matches]
    folded = ["".join(map(_fold, match[0])) for match in matches]
    assert [folded.index(word) for word in folded] == _first_same(words.hashes)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=40), st.just(1))
@example(["天", "地"] * 15 + ["人"] * 9, 2)
@example(["ก", "ขา"] * 20, 3)
def test_repeated_ngrams_are_found_as_by_looking_at_all(words, letters_per_word):
    blank = " " if letters_per_word == 1 else ""
    result = layout(Characters(blank.join(words)).codes)
    top, duplicate = ngram_characters(result.word_keys, result.word_lengths, letters_per_word)
    words = units(blank.join(words))
    for n, characters in zip((n * letters_per_word for n in TOP_NGRAMS), top, strict=True):
        runs = [blank.join(words[start : start + n]) for start in range(len(words) - n + 1)]
        most = max(map(runs.count, runs), default=0)
        assert characters == (most * len(next(run for run in runs if runs.count(run) == most)) if most > 1 else 0)
    for n, characters in zip((n * letters_per_word for n in DUPLICATE_NGRAMS), duplicate, strict=True):
        seen, start, repeated = set(), 0, 0
        while start <= len(words) - n:
            run = tuple(words[start : start + n])
            repeated += len("".join(run)) if run in seen else 0
            start += n if run in seen else 1
            seen.add(run)
        assert characters == repeated


@settings(max_examples=100, deadline=None)
@given(texts)
def test_every_text_has_scores_inside_their_bounds(text):
    for name, value in score(text).items():
        if name.endswith("_fraction"):
            assert 0 <= value <= 1, name


def _fold(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character).lower()
    return folded if len(folded) == 1 else character


def _first_same(keys) -> list[int]:
    return [keys.tolist().index(key) for key in keys.tolist()]
