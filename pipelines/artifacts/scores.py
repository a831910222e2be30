"""What `score` measures on every document: numbers and findings, no decision.

score   scores/NNNNN.parquet          SCORES: one row a document, in the order of the documents
        pii/NNNNN.parquet             PII: one row a finding, in the order of the text
        contamination/NNNNN.parquet   CONTAMINATION: one row for each evaluation item that stands in a document
"""

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
"""`language`: ISO 639-1, "unknown" where no profile is near; `language_margin`: how much farther the second language
is, as a share; `words`: of all lines, in scripts without blanks estimated from the letters; `prose_words`: of the
lines that are not code; `code_lines_fraction`: lines that are; `duplicate_code_characters_fraction`: characters of
lines of code that stood before, of all of the text. What follows up to `newlines_per_word` is measured on the other
lines, `lorem_ipsum` and `curly_brackets` on all. `symbol_to_word_ratio`: hashes or ellipses per word, whichever is
more; `stop_words`: how many different ones of the language. Null is what a text cannot have: `mean_word_length`
without blanks between words, `stop_words` in a language without a list, `c4_sentences`, `c4_dropped_lines_fraction`
and `punctuated_lines_fraction` in a script that ends no sentence with a mark. `listed_url`, `listed_words`: found on
the recipe's lists; `noai` ... `tdm_reserved`: what the document's opt-out signals say; `quality`: probability of the
classifier, 0 without one; `contamination`: largest share of an evaluation item that stands in the text."""

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
"""`item`: its number in the evaluation file, from 0; `share`: of its words, found in their order; `excerpt`: where."""
