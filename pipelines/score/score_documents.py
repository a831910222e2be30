"""Scoring documents as a library function, without a recipe or a cluster."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from data_recipes.sections.refining import ScoreSection
from pipelines.artifacts.documents import Document
from pipelines.artifacts.scores import SCORES
from pipelines.score.from_recipe import load_scorer, pin
from pipelines.score.own import own_fields, own_scores


def score_documents(
    documents: Iterable[str | Document], section: ScoreSection | None = None, folder: Path | str = "."
) -> pa.Table:
    """Measure documents as the stage `score` does: language, quality signals, personal data, contamination.

    Args:
        documents: Texts, or documents as `read_documents` gives them; one row of the result each, in order.
        section: The fields of `[score]` of a corpus recipe. Default: those of a recipe without that section.
        folder: Folder of the relative paths in `section`.

    Returns:
        A table with the columns of `pipelines.artifacts.scores.SCORES`, then those of your own scorers.

    Raises:
        RecipeError: A file of `section` is missing or invalid.

    Example:
        >>> from pipelines import score_documents
        >>> text = "The river rose in the night, and the people went to see it. Write to a@gmail.com."
        >>> table = score_documents([text])
        >>> table.select(["language", "words", "stop_words", "pii_email"]).to_pylist()
        [{'language': 'en', 'words': 16, 'stop_words': 3, 'pii_email': 1}]
    """
    section, folder = section or ScoreSection(), Path(folder)
    scorer = load_scorer(section, pin(section, folder), folder)
    rows = []
    for each in documents:
        document = each if isinstance(each, Document) else Document(each, url="", origin="")
        scores = scorer.score(document.text, document.url, document.opt_out).row
        rows.append({"doc_id": document.doc_id, **scores, **own_scores(scorer.own, document)})
    return pa.Table.from_pylist(rows, schema=pa.schema([*SCORES, *own_fields(scorer.own)]))
