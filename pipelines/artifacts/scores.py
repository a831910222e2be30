"""The output of `score`, measured on every document: numbers and findings, no decision.

score   scores/NNNNN.parquet          SCORES: one row a document, in the order of the documents
        pii/NNNNN.parquet             PII: one row a finding, in the order of the text
        contamination/NNNNN.parquet   CONTAMINATION: one row for each evaluation item that occurs in a document
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
PII_KINDS = ("card", "email", "iban", "ip", "national_id", "phone", "secret")


def _columns(dtype: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, dtype, nullable=False) for name in names]


SCORES = pa.schema(
    [
        *_columns(pa.string(), "doc_id"),
        *_columns(pa.int64(), "text_bytes"),
        *_columns(pa.string(), "language"),
        *_columns(pa.float64(), "language_margin"),
        *_columns(pa.bool_(), "language_arbitrated"),
        *_columns(pa.int64(), "words", "prose_words"),
        *_columns(pa.float64(), "code_lines_fraction", "duplicate_code_characters_fraction"),
        pa.field("mean_word_length", pa.float64()),
        *_columns(
            pa.float64(),
            "symbol_to_word_ratio",
            "bullet_lines_fraction",
            "ellipsis_lines_fraction",
            "alpha_words_fraction",
        ),
        pa.field("stop_words", pa.int32()),
        *_columns(
            pa.float64(),
            "duplicate_line_fraction",
            "duplicate_line_characters_fraction",
            "duplicate_paragraph_fraction",
            "duplicate_paragraph_characters_fraction",
            *(f"top_{n}gram_fraction" for n in TOP_NGRAMS),
            *(f"duplicate_{n}gram_fraction" for n in DUPLICATE_NGRAMS),
        ),
        *_columns(pa.bool_(), "lorem_ipsum", "curly_brackets"),
        pa.field("c4_sentences", pa.int32()),
        pa.field("c4_dropped_lines_fraction", pa.float64()),
        *_columns(pa.float64(), "javascript_lines_fraction", "policy_lines_fraction"),
        pa.field("punctuated_lines_fraction", pa.float64()),
        *_columns(pa.float64(), "short_lines_fraction", "newlines_per_word"),
        *_columns(pa.bool_(), "listed_url"),
        *_columns(pa.int32(), "listed_words"),
        *_columns(pa.bool_(), "noai", "noimageai", "noindex", "nosnippet", "tdm_reserved"),
        *_columns(pa.float64(), "quality", "contamination"),
        *_columns(pa.int32(), *(f"pii_{kind}" for kind in PII_KINDS)),
    ]
)
"""`language`: ISO 639-1, "unknown" if no profile is near; `language_margin`: how much farther the second language is,
as a share; `words`: of all lines, estimated from the letters in scripts without blanks; `prose_words`: of the lines
that are not code; `code_lines_fraction`: share of lines of code; `duplicate_code_characters_fraction`: characters of
repeated lines of code, of all of the text. The scores up to `newlines_per_word` are measured on the other lines,
`lorem_ipsum` and `curly_brackets` on all. `symbol_to_word_ratio`: hashes or ellipses per word, whichever is more;
`stop_words`: how many different ones of the language. A score is null if a text cannot have it: `mean_word_length`
without blanks between words, `stop_words` in a language without a list, `c4_sentences`, `c4_dropped_lines_fraction` and
`punctuated_lines_fraction` in a script that ends no sentence with a mark. `listed_url`, `listed_words`: hits in the
recipe's lists; `noai` ... `tdm_reserved`: the document's opt-out signals; `quality`: probability of the classifier, 0
without one; `contamination`: largest share of an evaluation item that occurs in the text."""

PII = pa.schema(
    [*_columns(pa.string(), "doc_id"), *_columns(pa.int32(), "start", "end"), *_columns(pa.string(), "kind")]
)
"""`start`, `end`: characters of the text, end not included; `kind`: one of PII_KINDS."""

CONTAMINATION = pa.schema(
    [
        *_columns(pa.string(), "doc_id", "benchmark", "item", "field"),
        *_columns(pa.float64(), "share"),
        *_columns(pa.string(), "excerpt"),
    ]
)
"""`item`: its number in the evaluation file, from 0; `share`: of its words, matched in their order; `excerpt`: the
matching passage.
"""


@dataclass(frozen=True)
class Limit:
    """A rule of `filter` that drops documents whose `score` is below (`is_minimum`) or above the recipe's `field`."""

    score: str
    field: str
    is_minimum: bool


def _at_least(score: str, field: str) -> Limit:
    return Limit(score, field, is_minimum=True)


def _at_most(score: str, field: str) -> Limit:
    return Limit(score, field, is_minimum=False)


LIMITS: Mapping[str, Limit] = {
    "language_margin": _at_least("language_margin", "min_language_margin"),
    "min_words": _at_least("words", "min_words"),
    "max_words": _at_most("words", "max_words"),
    "code_lines": _at_most("code_lines_fraction", "max_code_lines_fraction"),
    "duplicate_code": _at_most("duplicate_code_characters_fraction", "max_duplicate_code_characters_fraction"),
    "min_mean_word_length": _at_least("mean_word_length", "min_mean_word_length"),
    "max_mean_word_length": _at_most("mean_word_length", "max_mean_word_length"),
    "symbol_to_word_ratio": _at_most("symbol_to_word_ratio", "max_symbol_to_word_ratio"),
    "bullet_lines": _at_most("bullet_lines_fraction", "max_bullet_lines_fraction"),
    "ellipsis_lines": _at_most("ellipsis_lines_fraction", "max_ellipsis_lines_fraction"),
    "alpha_words": _at_least("alpha_words_fraction", "min_alpha_words_fraction"),
    "stop_words": _at_least("stop_words", "min_stop_words"),
    "duplicate_lines": _at_most("duplicate_line_fraction", "max_duplicate_line_fraction"),
    "duplicate_paragraphs": _at_most("duplicate_paragraph_fraction", "max_duplicate_paragraph_fraction"),
    "duplicate_line_characters": _at_most(
        "duplicate_line_characters_fraction", "max_duplicate_line_characters_fraction"
    ),
    "duplicate_paragraph_characters": _at_most(
        "duplicate_paragraph_characters_fraction", "max_duplicate_paragraph_characters_fraction"
    ),
    **{f"top_{n}gram": _at_most(f"top_{n}gram_fraction", f"max_top_{n}gram_fraction") for n in TOP_NGRAMS},
    **{
        f"duplicate_{n}gram": _at_most(f"duplicate_{n}gram_fraction", f"max_duplicate_{n}gram_fraction")
        for n in DUPLICATE_NGRAMS
    },
    "c4_sentences": _at_least("c4_sentences", "min_c4_sentences"),
    "c4_dropped_lines": _at_most("c4_dropped_lines_fraction", "max_c4_dropped_lines_fraction"),
    "javascript_lines": _at_most("javascript_lines_fraction", "max_javascript_lines_fraction"),
    "policy_lines": _at_most("policy_lines_fraction", "max_policy_lines_fraction"),
    "punctuated_lines": _at_least("punctuated_lines_fraction", "min_punctuated_lines_fraction"),
    "short_lines": _at_most("short_lines_fraction", "max_short_lines_fraction"),
    "newlines": _at_most("newlines_per_word", "max_newlines_per_word"),
    "listed_words": _at_most("listed_words", "max_listed_words"),
    "quality": _at_least("quality", "min_quality"),
    "contamination": _at_most("contamination", "max_contamination"),
}
"""The rules of `filter` that are a limit on one score, by name."""
