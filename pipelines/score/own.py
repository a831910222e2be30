"""Scorers of your own: each adds numeric columns to the scores of every document.

# own_scorer.py, beside the recipe
class Links(Section):
    columns: ClassVar = {"num_links": int}
    scheme: str = "https"

    def score(self, document: Document) -> dict[str, int]:
        return {"num_links": document.text.count(f"{self.scheme}://")}

# corpus.toml
[[score.scorers]]
kind = "own_scorer:Links"
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from arctic_errors import UserError
from pipelines.artifacts.documents import Document
from pipelines.artifacts.scores import SCORES

TYPES: Mapping[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
Score = int | float | bool | None


class ScorerError(UserError, ValueError):
    """A scorer of the user's declares or returns something else than its columns."""


class DocumentScorer(Protocol):
    """A class whose scores depend on the document and its own fields alone: no clock, no network, no random numbers.

    `columns`: type of each score by its name: int, float or bool. A score of None is stored as null.
    """

    columns: Mapping[str, type]

    def score(self, document: Document) -> Mapping[str, Score]:
        """The score of every column."""


def own_fields(scorers: Iterable[DocumentScorer]) -> list[pa.Field]:
    """The columns that `scorers` add, in their order. Raises ScorerError if a name is taken or a type is not
    numeric."""
    fields: dict[str, pa.Field] = {}
    for scorer in scorers:
        name = type(scorer).__name__
        for column, dtype in scorer.columns.items():
            if column in fields or column in SCORES.names:
                raise ScorerError(f"columns of {name}: {column!r} is another score's name. Rename it.")
            if dtype not in TYPES:
                raise ScorerError(f"columns of {name}: {column!r} is of {dtype!r}. Use int, float or bool.")
            fields[column] = pa.field(column, TYPES[dtype])
    return list(fields.values())


def own_scores(scorers: Sequence[DocumentScorer], document: Document) -> dict[str, Score]:
    """All scores that `scorers` give `document`. Raises ScorerError if one returns other columns or types."""
    scores: dict[str, Score] = {}
    for scorer in scorers:
        returned = scorer.score(document)
        if returned.keys() != scorer.columns.keys():
            raise ScorerError(_problem(scorer, document, f"{sorted(returned)} instead of {sorted(scorer.columns)}"))
        for column, dtype in scorer.columns.items():
            if not _is(returned[column], dtype):
                raise ScorerError(_problem(scorer, document, f"{column} = {returned[column]!r}, no {dtype.__name__}"))
        scores |= returned
    return scores


def _is(value: Any, dtype: type) -> bool:
    if dtype is float:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return value is None or type(value) is dtype


def _problem(scorer: DocumentScorer, document: Document, returned: str) -> str:
    return f"{type(scorer).__name__}.score returned {returned}, for document {document.url}. Correct the class."
