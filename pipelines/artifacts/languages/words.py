"""Metadata of each language: its commonest words, and the length of its words relative to English.

`words.toml` names the sources of both; `benchmarks/filter_profiles.py --derive` writes it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

_PAGE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ENGLISH = "en"
MIN_MARGIN = 0.1
"""Margin from which a language is certain enough to be judged by its own measures: with less, Tatar is detected as
Turkish and Xhosa as Estonian."""
STOP_WORDS: Mapping[str, frozenset[str]] = {
    code: frozenset(words.split()) for code, words in _PAGE["stop_words"].items()
}
"""The commonest words of languages that put blanks between words, by ISO 639-1 code."""
RELATIVE_WORD_LENGTHS: Mapping[str, float] = {
    code: length / _PAGE["mean_word_length"][ENGLISH] for code, length in _PAGE["mean_word_length"].items()
}
"""Mean word length of a language divided by that of English in the same text, by ISO 639-1 code."""
ALIASES: Mapping[str, str] = _PAGE["aliases"]
"""Codes that some engines answer instead."""
