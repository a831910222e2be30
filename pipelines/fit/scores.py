"""Scores that rules and orders may use, and those that are not measured."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from data_recipes import CorpusRecipe
from pipelines.artifacts.scores import LIMITS as RULES_OF_LIMITS
from pipelines.artifacts.scores import SCORES
from pipelines.fit.configs import mistakes_of
from pipelines.score import score_columns


def _numeric(columns: Iterable[pa.Field]) -> list[str]:
    return [column.name for column in columns if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)]


NUMERIC_SCORES = _numeric(SCORES)


MEASURED_WITH = {"quality": "quality_model", "contamination": "decontaminate", "listed_words": "word_lists"}
"""Scores that are 0 on every document unless a field of `[score]` is set."""


LIMITS = {limit.score: limit.field for limit in RULES_OF_LIMITS.values() if limit.score in MEASURED_WITH}
"""The limits of `[filter]` on those scores."""


def own_scores(corpus: CorpusRecipe, path: Path) -> list[str]:
    """Numeric scores of the user's own scorers. Raises RecipeError if one of them cannot be used."""
    with mistakes_of(path):
        return [name for name in _numeric(score_columns(corpus.score, path.parent)) if name not in NUMERIC_SCORES]


def unmeasured(score: str, name: str, corpus: CorpusRecipe) -> Iterator[str]:
    """The mistake of using a `score` that is not measured."""
    field = MEASURED_WITH.get(score)
    if field and not getattr(corpus.score, field):
        whose = f"the corpus {name}" if name else "this corpus"
        yield f"the score {score} is 0 on every document, as {whose} has no score.{field}. Set that, or remove this."
