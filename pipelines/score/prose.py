"""What a text looks like: the rules of Gopher (arXiv 2112.11446, table A1), C4 (1910.10683, section 2.2) and FineWeb
(2406.17557, section 3.6) as numbers. Words are what stands between blanks; lines are those with more than blanks."""

import re
from functools import cache

import numpy as np

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS
from pipelines.score.characters import Characters
from pipelines.score.layout import Layout, layout
from pipelines.score.repetition import duplicates, ngram_characters

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
ELLIPSES = ("...", "…")
SHORT_LINE_CHARACTERS = 30
C4_POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""As in C4's own code (tensorflow/datasets, text/c4_utils.py)."""
_FRAME_PARTS = ("javascript", "cookie", "privacy policy", "terms of use")
"""One of these stands in whatever has "javascript" or a policy phrase: fewer to look for."""
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)]")


def prose_scores(characters: Characters, found: Layout) -> dict[str, float]:
    """The columns from `words` to `newlines_per_word` of SCORES. An empty text scores 0 everywhere."""
    text = characters.text
    num_lines, num_words = len(found.line_keys), len(found.word_keys)
    return {
        **_gopher_quality(characters, found),
        **_gopher_repetition(text, found),
        **_c4(text, found),
        "punctuated_lines_fraction": _share(found.line_punctuated.sum(), num_lines),
        "short_lines_fraction": _share((found.line_lengths <= SHORT_LINE_CHARACTERS).sum(), num_lines),
        "newlines_per_word": _share(text.count("\n"), num_words),
    }


def _gopher_quality(characters: Characters, found: Layout) -> dict[str, float]:
    text = characters.text
    num_lines, num_words = len(found.line_keys), len(found.word_keys)
    return {
        "words": num_words,
        "mean_word_length": _share(found.word_lengths.sum(), num_words),
        "symbol_to_word_ratio": _share(max(text.count("#"), sum(map(text.count, ELLIPSES))), num_words),
        "bullet_lines_fraction": _share(found.line_bullet.sum(), num_lines),
        "ellipsis_lines_fraction": _share(found.line_ellipsis.sum(), num_lines),
        "alpha_words_fraction": _share(found.word_letters.sum(), num_words),
        "stop_words": _num_stop_words(characters),
    }


def _gopher_repetition(text: str, found: Layout) -> dict[str, float]:
    lines, line_characters = duplicates(found.line_keys, found.line_lengths)
    paragraphs, paragraph_characters = duplicates(found.paragraph_keys, found.paragraph_lengths)
    top, duplicate = ngram_characters(found.word_keys, found.word_lengths)
    return {
        "duplicate_line_fraction": _share(lines, len(found.line_keys)),
        "duplicate_line_characters_fraction": _share(line_characters, len(text) - text.count("\n")),
        "duplicate_paragraph_fraction": _share(paragraphs, len(found.paragraph_keys)),
        "duplicate_paragraph_characters_fraction": _share(paragraph_characters, len(text)),
        **{f"top_{n}gram_fraction": min(1.0, _share(top[i], len(text))) for i, n in enumerate(TOP_NGRAMS)},
        **{f"duplicate_{n}gram_fraction": _share(duplicate[i], len(text)) for i, n in enumerate(DUPLICATE_NGRAMS)},
    }


def _num_stop_words(characters: Characters) -> int:
    listed, hashes = _stop_words(), characters.words.hashes
    places = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    return len(set(places[listed[places] == hashes].tolist()))


@cache
def _stop_words() -> np.ndarray:
    return np.sort(Characters(" ".join(STOP_WORDS)).words.hashes)


def _c4(text: str, found: Layout) -> dict[str, float]:
    """C4 cuts lines out of pages; here text is never rewritten, so the share of such lines is the score."""
    if _CITATION.search(text):
        text = _CITATION.sub("", text)
        found = layout(Characters(text).codes)
    num_lines = len(found.line_keys)
    javascript = policy = np.zeros(num_lines, bool)
    lower = text.lower()
    if any(part in lower for part in _FRAME_PARTS):
        lines = [line.lower() for line in text.split("\n") if line and not line.isspace()]
        javascript = np.array(["javascript" in line for line in lines])
        policy = np.array([any(phrase in line for phrase in C4_POLICY_PHRASES) for line in lines])
    kept = (found.line_sentences >= 0) & ~javascript & ~policy
    return {
        "lorem_ipsum": "lorem ipsum" in lower,
        "curly_brackets": "{" in text,
        "c4_sentences": int(found.line_sentences[kept].sum()),
        "c4_dropped_lines_fraction": _share(num_lines - kept.sum(), num_lines),
        "javascript_lines_fraction": _share(javascript.sum(), num_lines),
        "policy_lines_fraction": _share(policy.sum(), num_lines),
    }


def _share(part: float, whole: int) -> float:
    return float(part) / whole if whole else 0.0
