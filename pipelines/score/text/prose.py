"""Statistics of prose: the rules of Gopher (arXiv 2112.11446, table A1), C4 (1910.10683, section 2.2) and FineWeb
(2406.17557, section 3.6) as numbers, over the lines that are prose; lines of code have separate numbers.

Words are separated by blanks. In scripts without blanks between words they are estimated from the letters, and numbers
that need a text with words are None. Lines are those with more than blanks.
"""

import re

import numpy as np

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS
from pipelines.score.text.bits import IDEOGRAPH, IDEOGRAPHS_PER_WORD, SPACED, SYLLABLE, SYLLABLES_PER_WORD
from pipelines.score.text.characters import Characters
from pipelines.score.text.code_lines import code_lines
from pipelines.score.text.language import Language
from pipelines.score.text.layout import Layout, layout
from pipelines.score.text.repetition import duplicates, ngram_characters
from pipelines.score.text.stop_words import num_stop_words

ELLIPSES = ("...", "…")
SHORT_LINE_CHARACTERS = {SPACED: 30, IDEOGRAPH: 12, SYLLABLE: 30}
"""Five or six words, by script."""
LETTERS_PER_WORD = {SPACED: 1, IDEOGRAPH: IDEOGRAPHS_PER_WORD, SYLLABLE: SYLLABLES_PER_WORD}
HANGUL_SYLLABLES = (0xAC00, 0xD7A3)
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
"""Every text with "javascript" or a policy phrase has one of these: fewer to look for."""
_EMPTY_LINES = re.compile(r"\n{3,}")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)]")


def prose_scores(characters: Characters, measured: Layout, language: Language) -> dict[str, float | None]:
    """The columns from `words` to `newlines_per_word` of SCORES. An empty text scores 0 everywhere."""
    code = code_lines(characters.codes, measured)
    prose = without_lines(characters, code)
    prose_found = layout(prose.codes) if code.any() else measured
    _, repeated = duplicates(measured.line_keys[code], measured.line_lengths[code])
    scores: dict[str, float | None] = {
        "words": _num_words(measured),
        "prose_words": _num_words(prose_found),
        "code_lines_fraction": _share(code.sum(), len(code)),
        "duplicate_code_characters_fraction": _share(repeated, len(characters.text) - characters.text.count("\n")),
    }
    return {
        **scores,
        **_gopher_quality(prose, prose_found, language),
        **_gopher_repetition(prose.text, prose_found),
        "lorem_ipsum": "lorem ipsum" in characters.text.lower(),
        "curly_brackets": "{" in characters.text,
        **_c4(prose, prose_found),
        **_fineweb(prose, prose_found),
    }


def without_lines(characters: Characters, gone: np.ndarray) -> Characters:
    """A text without some of its lines with more than blanks; one empty line separates the text around them."""
    if not gone.any():
        return characters
    marks = iter(gone.tolist())
    lines = (line for line in characters.text.split("\n") if not line or line.isspace() or not next(marks))
    return Characters(_EMPTY_LINES.sub("\n\n", "\n".join(lines)))


def _fineweb(characters: Characters, measured: Layout) -> dict[str, float | None]:
    script, num_lines = _script(measured), len(measured.line_keys)
    short = measured.line_lengths <= SHORT_LINE_CHARACTERS[script]
    return {
        # Thai, Lao and their like end no sentence with a mark.
        "punctuated_lines_fraction": None if script == SYLLABLE else _share(measured.line_punctuated.sum(), num_lines),
        "short_lines_fraction": _share(short.sum(), num_lines),
        "newlines_per_word": _share(characters.text.count("\n"), _num_words(measured)),
    }


def _gopher_quality(characters: Characters, measured: Layout, language: Language) -> dict[str, float | None]:
    text = characters.text
    num_lines, num_words = len(measured.line_keys), _num_words(measured)
    is_spaced = _script(measured) == SPACED
    return {
        "mean_word_length": _mean_word_length(characters.codes, measured) if is_spaced else None,
        "symbol_to_word_ratio": _share(max(text.count("#"), sum(map(text.count, ELLIPSES))), num_words),
        "bullet_lines_fraction": _share(measured.line_bullet.sum(), num_lines),
        "ellipsis_lines_fraction": _share(measured.line_ellipsis.sum(), num_lines),
        "alpha_words_fraction": _share(measured.word_letters.sum(), len(measured.word_letters)),
        "stop_words": num_stop_words(characters.words, language) if is_spaced else None,
    }


def _mean_word_length(codes: np.ndarray, measured: Layout) -> float:
    """Letters and signs of a word between blanks. A syllable of Korean counts as two: it is two or three letters in one
    character."""
    lengths = measured.word_lengths[measured.word_scripts == SPACED]
    first, last = HANGUL_SYLLABLES
    return _share(lengths.sum() + np.count_nonzero((codes >= first) & (codes <= last)), len(lengths))


def _gopher_repetition(text: str, measured: Layout) -> dict[str, float]:
    lines, line_characters = duplicates(measured.line_keys, measured.line_lengths)
    paragraphs, paragraph_characters = duplicates(measured.paragraph_keys, measured.paragraph_lengths)
    top, duplicate = ngram_characters(measured.word_keys, measured.word_lengths, LETTERS_PER_WORD[_script(measured)])
    return {
        "duplicate_line_fraction": _share(lines, len(measured.line_keys)),
        "duplicate_line_characters_fraction": _share(line_characters, len(text) - text.count("\n")),
        "duplicate_paragraph_fraction": _share(paragraphs, len(measured.paragraph_keys)),
        "duplicate_paragraph_characters_fraction": _share(paragraph_characters, len(text)),
        **{f"top_{n}gram_fraction": min(1.0, _share(top[i], len(text))) for i, n in enumerate(TOP_NGRAMS)},
        **{f"duplicate_{n}gram_fraction": _share(duplicate[i], len(text)) for i, n in enumerate(DUPLICATE_NGRAMS)},
    }


def _num_words(measured: Layout) -> int:
    """Words of a text, by their letters in scripts without blanks between words."""
    return round(sum(_words_by_script(measured).values()))


def _script(measured: Layout) -> np.uint16:
    """The script that most words of a text are written in: SPACED, IDEOGRAPH or SYLLABLE."""
    counts = _words_by_script(measured)
    return max(counts, key=lambda script: counts[script])


def _words_by_script(measured: Layout) -> dict[np.uint16, float]:
    return {script: float((measured.word_scripts == script).sum()) / size for script, size in LETTERS_PER_WORD.items()}


def _c4(characters: Characters, measured: Layout) -> dict[str, float | None]:
    """C4 cuts lines out of pages; here text is never rewritten, so the share of such lines is the score."""
    text, is_unmarked = characters.text, _script(measured) == SYLLABLE
    if _CITATION.search(text):
        text = _CITATION.sub("", text)
        measured = layout(Characters(text).codes)
    num_lines = len(measured.line_keys)
    javascript = policy = np.zeros(num_lines, bool)
    lower = text.lower()
    if any(part in lower for part in _FRAME_PARTS):
        lines = [line.lower() for line in text.split("\n") if line and not line.isspace()]
        javascript = np.array(["javascript" in line for line in lines])
        policy = np.array([any(phrase in line for phrase in C4_POLICY_PHRASES) for line in lines])
    is_c4_line = (measured.line_sentences >= 0) & ~javascript & ~policy
    return {
        "c4_sentences": None if is_unmarked else int(measured.line_sentences[is_c4_line].sum()),
        "c4_dropped_lines_fraction": None if is_unmarked else _share(num_lines - is_c4_line.sum(), num_lines),
        "javascript_lines_fraction": _share(javascript.sum(), num_lines),
        "policy_lines_fraction": _share(policy.sum(), num_lines),
    }


def _share(part: float, whole: int) -> float:
    return float(part) / whole if whole else 0.0
