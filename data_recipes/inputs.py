"""What a source can read: one model per kind of input."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_recipes.section import PositiveInt, Section

Places = Annotated[list[str], Field(min_length=1)]


class WarcInput(Section):
    """Crawled pages: HTML response records of WARC files."""

    kind: Literal["warc"]
    paths: Places
    """Files, directories or globs, relative ones from the recipe's own folder; `http(s)://` URLs; `s3://`, `gs://` and
    `hf://` addresses, also of folders and globs."""


class CommonCrawlInput(Section):
    """A sample of one crawl of Common Crawl, drawn by seed; the same sample whenever and wherever it is drawn."""

    kind: Literal["common_crawl"]
    crawl: Annotated[str, Field(pattern=r"^CC-MAIN-\d{4}-\d{2}$")]
    """Such as "CC-MAIN-2024-51"."""
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://data.commoncrawl.org/"
    """Where the crawl's files are: Common Crawl's own server or a mirror."""
    subset: Literal["warc", "wet"] = "warc"
    """Pages as they were fetched, or the plain text that Common Crawl took from them."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of the crawl's files; either this or num_files."""
    num_files: PositiveInt | None = None
    seed: int = 0
    """With one seed a larger sample has the smaller ones in it."""
    domains: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")]] = []
    """Registered domains, such as "example.co.uk"; of the sampled files only records of these are read, found by the
    columnar index. Empty takes every domain."""
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{3}$")]] = []
    """ISO 639-3 codes, such as "deu"; of the sampled files only records with text in one of these, by the index."""

    @model_validator(mode="after")
    def _sample_has_a_size(self) -> Self:
        if (self.fraction is None) == (self.num_files is None):
            raise ValueError(f"fraction = {self.fraction}, num_files = {self.num_files}: give exactly one of the two.")
        if self.subset == "wet" and (self.domains or self.languages):
            raise ValueError(
                'subset = "wet": the index has no WET records. Take out domains and languages, or use "warc".'
            )
        return self


class TableInput(Section):
    """Rows of JSON Lines files (plain, .gz, .zst, .bz2) or of Parquet files, one document each. Dots in the name of a
    field lead into nested fields, such as `metadata.url`. A row that cannot be read is set aside with its number."""

    kind: Literal["jsonl", "parquet"]
    paths: Places
    """Places as of kind "warc", such as `hf://datasets/org/name@revision/data/*.parquet` of the Hugging Face Hub."""
    text_field: str = "text"
    """Field or column of the document's text."""
    url_field: str | None = None
    """Where it was found; without one it is the file's name and the row, counted from 1: `part-0.jsonl#12`."""
    date_field: str | None = None
    licence_field: str | None = None
    id_field: str | None = None
    """The dataset's own id of the row; it goes into `attributes`."""


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


class RepositoriesInput(Section):
    """Code of checked-out repositories, files in the order of their imports, licence per repository and file."""

    kind: Literal["repositories"]
    paths: Annotated[list[str], Field(min_length=1)]
    """Folders or globs; relative ones start at the recipe's own folder. A folder with `.git` is a repository; of any
    other folder each subfolder is one."""
    languages: list[str] = []
    """Languages to keep, by their names on GitHub, such as "Python" and "C++"; empty keeps all that are known."""
    max_file_bytes: PositiveInt = 1_000_000
    join_files: bool = False
    """Join the files of a repository into documents of up to a million characters, each under a line with its path."""


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
    WarcInput
    | CommonCrawlInput
    | TableInput
    | PydocInput
    | DistributionsInput
    | PythonSourcesInput
    | RepositoriesInput
    | TextToSqlInput,
    Field(discriminator="kind"),
]
