"""From scores to decisions: limits over columns, no text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipelines.artifacts.languages.words import MIN_MARGIN, RELATIVE_WORD_LENGTHS
from pipelines.artifacts.scores import DUPLICATE_NGRAMS, LIMITS, TOP_NGRAMS
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


Drops = Callable[[Columns, Limits], np.ndarray]
DOCUMENT_COLUMNS = ("url", "licence")
"""Columns of a document that decisions need besides its scores."""


MOSTLY_CODE = 0.5
"""Share of lines above which a document is one of code."""
MIN_PROSE_WORDS = 50
"""Words of prose in such a document from which on the prose is judged: Gopher's shortest document."""


def _limit(rule: str) -> Drops:
    """The rule for a limit on one score; no rule if the limit is None.

    A score that is null, because the text cannot have it, is NaN here: neither above nor below any limit."""
    limit = LIMITS[rule]

    def drops(columns: Columns, limits: Limits) -> np.ndarray:
        threshold = getattr(limits, limit.field)
        if threshold is None:
            return _never(columns)
        scores = columns[limit.score]
        if limit.score == "mean_word_length":
            threshold = threshold * columns["relative_word_length"]
        dropped: np.ndarray = scores < threshold if limit.is_minimum else scores > threshold
        return dropped

    return drops


def _where(flag: str, switch: str) -> Drops:
    return lambda columns, limits: columns[flag] & getattr(limits, switch)


def _between(first: str, last: str) -> dict[str, Drops]:
    """The rules of LIMITS from `first` to `last`, in their order."""
    names = list(LIMITS)
    return {name: _limit(name) for name in names[names.index(first) : names.index(last) + 1]}


RULES: Mapping[str, Drops] = {
    "takedown": lambda columns, _: columns["takedown"],
    "opt_out": lambda columns, limits: (columns["noai"] | columns["tdm_reserved"]) & limits.respect_opt_out,
    "noindex": _where("noindex", "drop_noindex"),
    "licence": lambda columns, limits: _refused(columns["licence"], limits.allowed_licences, limits.denied_licences),
    "listed_url": _where("listed_url", "drop_listed_urls"),
    "language": lambda columns, limits: _other_language(columns["language"], limits.languages),
    **_between("language_margin", "duplicate_10gram"),
    "lorem_ipsum": _where("lorem_ipsum", "drop_lorem_ipsum"),
    "curly_brackets": _where("curly_brackets", "drop_curly_brackets"),
    **_between("c4_sentences", "contamination"),
}
"""Whether each rule drops each document, by the name of the rule, in the order in which reasons are given: text that
must not be used first, then text that is not worth reading."""


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
"""Rules about lines that are not code: they do not apply to a document of code with a few words of prose."""


def decide(scores: pa.Table, documents: pa.Table, limits: Limits, takedown: Takedown) -> np.ndarray:
    """For each row of SCORES and DOCUMENT_COLUMNS: the first rule that drops it, "" if it is kept (object array)."""
    columns = {name: scores[name].to_numpy() for name in scores.column_names}
    columns["licence"] = documents["licence"].to_numpy()
    columns["relative_word_length"] = _relative_word_lengths(columns["language"], columns["language_margin"])
    columns["takedown"] = takedown.has(scores["doc_id"].to_pylist(), documents["url"].to_pylist())
    has_prose = (columns["code_lines_fraction"] <= MOSTLY_CODE) | (columns["prose_words"] >= MIN_PROSE_WORDS)
    reasons = np.full(scores.num_rows, "", dtype=object)
    for name, drops in RULES.items():
        applies = has_prose if name in PROSE_RULES else True
        reasons[(reasons == "") & applies & drops(columns, limits)] = name
    return reasons


def _relative_word_lengths(languages: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Length of words in each document's language relative to English, 1 if the language is in doubt."""
    lengths = np.array([RELATIVE_WORD_LENGTHS.get(language, 1.0) for language in languages])
    return np.where(margins >= MIN_MARGIN, lengths, 1.0)


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
