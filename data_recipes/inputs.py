"""What a source can read: one model per kind of input."""

from typing import Annotated, Literal

from pydantic import Field

from data_recipes.section import PositiveInt, Section


class WarcInput(Section):
    """Crawled pages: HTML response records of WARC files."""

    kind: Literal["warc"]
    paths: Annotated[list[str], Field(min_length=1)]
    """Files, directories or globs; relative ones start at the recipe's own folder."""


class PydocInput(Section):
    """HTML pages that `pydoc` renders for every importable standard-library module, written as WARC first."""

    kind: Literal["pydoc"]


class DistributionsInput(Section):
    """Long descriptions of the Python distributions installed in this environment."""

    kind: Literal["distributions"]


class PythonSourcesInput(Section):
    """`.py` files of the standard library and of installed distributions, licence from their metadata."""

    kind: Literal["python_sources"]
    standard_library: bool = True
    distributions: list[str] = []
    """Distribution names, such as `rich`; each must be installed."""
    max_file_bytes: PositiveInt = 200_000


class TextToSqlInput(Section):
    """Generated SQLite schemas with rows, questions and queries; kept only where the query returns rows."""

    kind: Literal["text_to_sql"]
    num_schemas: PositiveInt
    """Schemas for training; each becomes one document with several question and query pairs."""
    num_heldout_schemas: PositiveInt
    """Schemas that no training document has, for evaluation."""
    pairs_per_schema: PositiveInt
    seed: int


Input = Annotated[
    WarcInput | PydocInput | DistributionsInput | PythonSourcesInput | TextToSqlInput,
    Field(discriminator="kind"),
]
