"""From scores to decisions: limits over columns, no text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipelines.artifacts.scores import DUPLICATE_NGRAMS, TOP_NGRAMS
from pipelines.filter.takedown import Takedown

Columns = Mapping[str, np.ndarray]


class Limits(Protocol):
    """The limit of every rule, as an attribute by the name that RULES has for it."""

    @property
    def respect_opt_out(self) -> bool: ...
    @property
    def allowed_licences(self) -> Sequence[str]: ...
    @property
    def denied_licences(self) -> Sequence[str]: ...
    @property
    def languages(self) -> Sequence[str]: ...
    @property
    def max_newlines_per_word(self) -> float | None: ...


Drops = Callable[[Columns, Limits], np.ndarray]
DOCUMENT_COLUMNS = ("url", "licence")
"""What decisions need of a document besides its scores."""


MOSTLY_CODE = 0.5
"""Share of lines above which a document is one of code."""
MIN_PROSE_WORDS = 50
"""Words of prose in such a document from which on the prose is judged: Gopher's shortest document."""


# A score that is null, because the text cannot have it, is NaN here: neither above nor below any limit.
def _above(score: str, limit: str) -> Drops:
    return lambda columns, limits: columns[score] > getattr(limits, limit)


def _below(score: str, limit: str) -> Drops:
    return lambda columns, limits: columns[score] < getattr(limits, limit)


def _where(flag: str, switch: str) -> Drops:
    return lambda columns, limits: columns[flag] & getattr(limits, switch)


RULES: Mapping[str, Drops] = {
    "takedown": lambda columns, _: columns["takedown"],
    "opt_out": lambda columns, limits: (columns["noai"] | columns["tdm_reserved"]) & limits.respect_opt_out,
    "noindex": _where("noindex", "drop_noindex"),
    "licence": lambda columns, limits: _refused(columns["licence"], limits.allowed_licences, limits.denied_licences),
    "listed_url": _where("listed_url", "drop_listed_urls"),
    "language": lambda columns, limits: _other_language(columns["language"], limits.languages),
    "language_margin": _below("language_margin", "min_language_margin"),
    "min_words": _below("words", "min_words"),
    "max_words": _above("words", "max_words"),
    "code_lines": _above("code_lines_fraction", "max_code_lines_fraction"),
    "duplicate_code": _above("duplicate_code_characters_fraction", "max_duplicate_code_characters_fraction"),
    "min_mean_word_length": _below("mean_word_length", "min_mean_word_length"),
    "max_mean_word_length": _above("mean_word_length", "max_mean_word_length"),
    "symbol_to_word_ratio": _above("symbol_to_word_ratio", "max_symbol_to_word_ratio"),
    "bullet_lines": _above("bullet_lines_fraction", "max_bullet_lines_fraction"),
    "ellipsis_lines": _above("ellipsis_lines_fraction", "max_ellipsis_lines_fraction"),
    "alpha_words": _below("alpha_words_fraction", "min_alpha_words_fraction"),
    "stop_words": _below("stop_words", "min_stop_words"),
    "duplicate_lines": _above("duplicate_line_fraction", "max_duplicate_line_fraction"),
    "duplicate_paragraphs": _above("duplicate_paragraph_fraction", "max_duplicate_paragraph_fraction"),
    "duplicate_line_characters": _above("duplicate_line_characters_fraction", "max_duplicate_line_characters_fraction"),
    "duplicate_paragraph_characters": _above(
        "duplicate_paragraph_characters_fraction", "max_duplicate_paragraph_characters_fraction"
    ),
    **{f"top_{n}gram": _above(f"top_{n}gram_fraction", f"max_top_{n}gram_fraction") for n in TOP_NGRAMS},
    **{
        f"duplicate_{n}gram": _above(f"duplicate_{n}gram_fraction", f"max_duplicate_{n}gram_fraction")
        for n in DUPLICATE_NGRAMS
    },
    "lorem_ipsum": _where("lorem_ipsum", "drop_lorem_ipsum"),
    "curly_brackets": _where("curly_brackets", "drop_curly_brackets"),
    "c4_sentences": _below("c4_sentences", "min_c4_sentences"),
    "c4_dropped_lines": _above("c4_dropped_lines_fraction", "max_c4_dropped_lines_fraction"),
    "javascript_lines": _above("javascript_lines_fraction", "max_javascript_lines_fraction"),
    "policy_lines": _above("policy_lines_fraction", "max_policy_lines_fraction"),
    "punctuated_lines": _below("punctuated_lines_fraction", "min_punctuated_lines_fraction"),
    "short_lines": _above("short_lines_fraction", "max_short_lines_fraction"),
    "newlines": lambda columns, limits: (
        _never(columns)
        if limits.max_newlines_per_word is None
        else columns["newlines_per_word"] > limits.max_newlines_per_word
    ),
    "listed_words": _above("listed_words", "max_listed_words"),
    "quality": _below("quality", "min_quality"),
    "contamination": _above("contamination", "max_contamination"),
}
"""Whether each rule drops each document, by the name of the rule, in the order in which reasons are given: what must
not be used first, then what is no text worth reading."""


PROSE_RULES = frozenset(
    {
        *("min_mean_word_length", "max_mean_word_length", "symbol_to_word_ratio", "bullet_lines", "ellipsis_lines"),
        *("alpha_words", "stop_words", "duplicate_lines", "duplicate_paragraphs", "duplicate_line_characters"),
        *("duplicate_paragraph_characters", "c4_sentences", "c4_dropped_lines", "javascript_lines", "policy_lines"),
        *("punctuated_lines", "short_lines", "newlines"),
        *(f"top_{n}gram" for n in TOP_NGRAMS),
        *(f"duplicate_{n}gram" for n in DUPLICATE_NGRAMS),
    }
)
"""Rules about lines that are no code: they say nothing of a document of code with a few words of prose."""


def decide(scores: pa.Table, documents: pa.Table, limits: Limits, takedown: Takedown) -> np.ndarray:
    """For each row of SCORES and DOCUMENT_COLUMNS: the first rule that drops it, "" if it is kept (object array)."""
    columns = {name: scores[name].to_numpy() for name in scores.column_names}
    columns["licence"] = documents["licence"].to_numpy()
    columns["takedown"] = takedown.has(scores["doc_id"].to_pylist(), documents["url"].to_pylist())
    has_prose = (columns["code_lines_fraction"] <= MOSTLY_CODE) | (columns["prose_words"] >= MIN_PROSE_WORDS)
    reasons = np.full(scores.num_rows, "", dtype=object)
    for name, drops in RULES.items():
        applies = has_prose if name in PROSE_RULES else True
        reasons[(reasons == "") & applies & drops(columns, limits)] = name
    return reasons


def _never(columns: Columns) -> np.ndarray:
    return np.zeros(len(columns["words"]), bool)


def _other_language(languages: np.ndarray, allowed: Sequence[str]) -> np.ndarray:
    return ~np.isin(languages.astype(str), allowed) if allowed else np.zeros(len(languages), bool)


def _refused(licences: np.ndarray, allowed: Sequence[str], denied: Sequence[str]) -> np.ndarray:
    """Licences that are not on a list of allowed ones, or on one of denied ones; compared in any case."""
    allowed_, denied_ = ({licence.lower() for licence in licences} for licences in (allowed, denied))

    def refused(licence: Any) -> bool:
        name = (licence or "").lower()
        return bool(allowed_ and name not in allowed_) or name in denied_

    return np.fromiter(map(refused, licences), bool, len(licences))
