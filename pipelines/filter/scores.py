"""Scores of one text: pure functions, no thresholds.

Words are what stands between blanks; lines are the non-empty ones. Gopher: arXiv 2112.11446, table A1; C4: 1910.10683,
section 2.2.
"""

import re
from collections import Counter

import pyarrow as pa
from resiliparse.parse.lang import detect_fast

SCORES = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_score", pa.int32(), nullable=False),
        pa.field("words", pa.int64(), nullable=False),
        pa.field("mean_word_length", pa.float64(), nullable=False),
        pa.field("symbol_to_word_ratio", pa.float64(), nullable=False),
        pa.field("bullet_lines_fraction", pa.float64(), nullable=False),
        pa.field("ellipsis_lines_fraction", pa.float64(), nullable=False),
        pa.field("alpha_words_fraction", pa.float64(), nullable=False),
        pa.field("stop_words", pa.int32(), nullable=False),
        pa.field("duplicate_line_fraction", pa.float64(), nullable=False),
        pa.field("top_4gram_fraction", pa.float64(), nullable=False),
        pa.field("lorem_ipsum", pa.bool_(), nullable=False),
        pa.field("curly_brackets", pa.bool_(), nullable=False),
    ]
)
"""`language`: ISO 639-1, "unknown" where no profile is near; `language_score`: distance to its profile, smaller is
surer; `symbol_to_word_ratio`: hashes or ellipses per word, whichever is more; `stop_words`: how many different ones."""

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("•", "‣", "◦", "▪", "●", "○", "*", "-", "–", "·")
ELLIPSES = ("...", "…")
LANGUAGE_CHARACTERS = 4000
"""Characters from the start of a text that its language is told from; more change the answer of few pages."""
_WORD_FROM_FIRST_LETTER = re.compile(r"[^\W\d_]\S*")


def score(text: str) -> dict[str, object]:
    """A row of SCORES. An empty text scores 0 everywhere."""
    words = text.split()
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    language, distance = detect_fast(text[:LANGUAGE_CHARACTERS])
    return {
        "language": language,
        "language_score": distance,
        "words": len(words),
        "mean_word_length": _share(sum(map(len, words)), len(words)),
        "symbol_to_word_ratio": _share(max(text.count("#"), sum(map(text.count, ELLIPSES))), len(words)),
        "bullet_lines_fraction": _share(sum(line.startswith(BULLETS) for line in lines), len(lines)),
        "ellipsis_lines_fraction": _share(sum(line.endswith(ELLIPSES) for line in lines), len(lines)),
        # Each match is the rest of one word, so there are as many as words with a letter.
        "alpha_words_fraction": _share(len(_WORD_FROM_FIRST_LETTER.findall(text)), len(words)),
        "stop_words": len(STOP_WORDS.intersection(text.lower().split())),
        "duplicate_line_fraction": _share(len(lines) - len(set(lines)), len(lines)),
        "top_4gram_fraction": top_ngram_fraction(words, 4),
        "lorem_ipsum": "lorem ipsum" in text.lower(),
        "curly_brackets": "{" in text,
    }


def top_ngram_fraction(words: list[str], n: int) -> float:
    """Share of all letters that stands inside the most frequent run of `n` words, if it occurs more than once; the
    longest of several that are equally frequent. Occurrences that overlap count each."""
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(sum(map(len, ngram)) for ngram, count in counts.items() if count == most)
    return min(1.0, most * longest / sum(map(len, words)))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
