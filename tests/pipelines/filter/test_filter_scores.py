"""Scores of a text against the rules' own words, and against counting by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.filter.scores import SCORES, score, top_ngram_fraction

PROSE = "The people of the town have to be with the river, and that is how it was. " * 4

GERMAN = (
    "In der Nacht war der Fluss gestiegen, und am Morgen standen viele Menschen auf der Brücke, um ihn zu sehen. "
    "Niemand konnte sagen, wie lange es dauern würde, bis die Straßen wieder frei wären und die Kinder zur Schule "
    "gehen könnten. Der Bürgermeister ließ Sand bringen, damit die Häuser am Ufer geschützt blieben."
)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("one two three", "words", 3),
        ("one two three", "mean_word_length", 11 / 3),
        ("# a b c", "symbol_to_word_ratio", 1 / 4),
        ("a... b… c d", "symbol_to_word_ratio", 2 / 4),
        ("# a... # b", "symbol_to_word_ratio", 2 / 4),
        ("• a\n- b\n\nc\n  * d", "bullet_lines_fraction", 3 / 4),
        ("a...\nb …\nc", "ellipsis_lines_fraction", 2 / 3),
        ("a 1 (b) 2-c-3 --- 4", "alpha_words_fraction", 3 / 6),
        ("naïve 中文 _x_ __ 7_8", "alpha_words_fraction", 3 / 5),
        ("The cat and THE dog have that", "stop_words", 4),
        ("a\nb\na\n\na\n", "duplicate_line_fraction", 2 / 4),
        ("Lorem IPSUM dolor", "lorem_ipsum", True),
        ("x = {1}", "curly_brackets", True),
        (PROSE, "language", "en"),
        (GERMAN, "language", "de"),
    ],
)
def test_a_score_is_what_its_rule_says(text, name, value):
    assert score(text)[name] == (pytest.approx(value) if isinstance(value, float) else value)


def test_a_text_without_words_scores_nothing():
    for text in ("", " \n\t\n"):
        found = score(text)
        assert list(found) == SCORES.names
        assert {value for name, value in found.items() if not name.startswith("language")} == {0}


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=25), st.integers(1, 4))
def test_the_top_ngram_is_found_as_by_looking_at_all(words, n):
    runs = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    repeated = [(runs.count(run), len("".join(run))) for run in runs if runs.count(run) > 1]
    count, letters = max(repeated, default=(0, 0))
    expected = min(1.0, count * letters / max(1, len("".join(words))))
    assert top_ngram_fraction(words, n) == pytest.approx(expected)


@given(st.text(max_size=300))
def test_every_text_has_scores_inside_their_bounds(text):
    found = score(text)
    for name in SCORES.names:
        if name.endswith("_fraction"):
            assert 0 <= found[name] <= 1, name
    assert found["words"] == len(text.split())
