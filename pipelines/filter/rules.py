"""From scores to decisions: thresholds over columns, no text."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from data_recipes.refining import FilterSection

Columns = Mapping[str, np.ndarray]

RULES: Mapping[str, Callable[[Columns, FilterSection], np.ndarray]] = {
    "language": lambda found, limit: _other_language(found, limit.languages),
    "min_words": lambda found, limit: found["words"] < limit.min_words,
    "max_words": lambda found, limit: found["words"] > limit.max_words,
    "min_mean_word_length": lambda found, limit: found["mean_word_length"] < limit.min_mean_word_length,
    "max_mean_word_length": lambda found, limit: found["mean_word_length"] > limit.max_mean_word_length,
    "symbol_to_word_ratio": lambda found, limit: found["symbol_to_word_ratio"] > limit.max_symbol_to_word_ratio,
    "bullet_lines": lambda found, limit: found["bullet_lines_fraction"] > limit.max_bullet_lines_fraction,
    "ellipsis_lines": lambda found, limit: found["ellipsis_lines_fraction"] > limit.max_ellipsis_lines_fraction,
    "alpha_words": lambda found, limit: found["alpha_words_fraction"] < limit.min_alpha_words_fraction,
    "stop_words": lambda found, limit: found["stop_words"] < limit.min_stop_words,
    "duplicate_lines": lambda found, limit: found["duplicate_line_fraction"] > limit.max_duplicate_line_fraction,
    "top_4gram": lambda found, limit: found["top_4gram_fraction"] > limit.max_top_4gram_fraction,
    "lorem_ipsum": lambda found, limit: found["lorem_ipsum"] & limit.drop_lorem_ipsum,
    "curly_brackets": lambda found, limit: found["curly_brackets"] & limit.drop_curly_brackets,
}
"""Whether each rule drops each document, by the name of the rule, in the order in which reasons are given."""


def decide(scores: pa.Table, section: FilterSection) -> tuple[np.ndarray, np.ndarray]:
    """For each row of SCORES: whether to keep it, and the first rule that drops it ("" where it is kept)."""
    found = {name: scores[name].to_numpy() for name in scores.column_names}
    reasons = np.full(scores.num_rows, "", dtype=object)
    for name, drops in RULES.items():
        reasons[(reasons == "") & drops(found, section)] = name
    return reasons == "", reasons


def _other_language(found: Columns, languages: list[str]) -> np.ndarray:
    return ~np.isin(found["language"].astype(str), languages) if languages else np.zeros(len(found["language"]), bool)
