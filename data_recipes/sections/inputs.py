"""The inputs of a source: one model per kind of input."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from data_recipes.section import OWN_CLASS, ExtensionSection, Location, Name, PathText, PositiveInt, Section, Seed, Text

Unread = tuple[str, str, str]
"""A field that nothing reads, the other field that makes it so with its value, and the reason."""
Paths = Annotated[list[PathText], Field(min_length=1), Location()]


class InputSection(Section):
    """Base of the kinds of input: the fields that a recipe sets, and the answers that depend on the kind."""

    implementation: ClassVar[str]
    """The class that reads the input, as "package.module:Class": this section with the methods of a kind of input."""
    has_chats: ClassVar[bool] = False
    """Whether its documents are conversations."""
    has_questions: ClassVar[bool] = False
    """Whether it asks questions about databases, which it holds out itself."""
    draws_split: ClassVar[bool] = True
    """Whether `source.heldout_fraction` decides what is held out."""

    kind: str
    """Name of the kind."""

    @property
    def has_responses(self) -> bool:
        """Whether it has responses of web servers."""
        return False

    @property
    def has_pages(self) -> bool:
        """Whether it has HTML pages."""
        return self.has_responses

    def unread(self, heldout_fraction: float) -> Iterator[Unread]:  # noqa: ARG002 - depends on the kind
        """Fields that nothing reads, given the others and `source.heldout_fraction`."""
        return iter(())


class WarcInput(InputSection):
    """Crawled pages: HTML response records of WARC files."""

    implementation = "pipelines.source.web.warc_files:WarcFiles"
    kind: Literal["warc"]
    """Kind of input: `"warc"`."""
    paths: Paths
    """Files, folders or globs, relative to the recipe's folder; `http(s)://` URLs of files; `s3://`, `gs://` and
    `hf://` addresses of files, folders and globs."""

    @property
    def has_responses(self) -> bool:
        return True


class CommonCrawlInput(InputSection):
    """A sample of one crawl of Common Crawl. The same seed draws the same sample on every machine."""

    implementation = "pipelines.source.web.common_crawl:CommonCrawl"
    kind: Literal["common_crawl"]
    """Kind of input: `"common_crawl"`."""
    crawl: Annotated[str, Field(pattern=r"^CC-MAIN-\d{4}-\d{2}$")]
    """Name of the crawl, such as "CC-MAIN-2024-51"."""
    base_url: Annotated[str, Field(pattern=r"^https?://"), Location()] = "https://data.commoncrawl.org/"
    """URL of the server that holds the crawl: Common Crawl's own or a mirror."""
    subset: Literal["warc", "wet"] = "warc"
    """Records to read: fetched pages ("warc") or the plain text that Common Crawl extracted from them ("wet")."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Fraction of the crawl's files to sample. Set either `fraction` or `num_files`."""
    num_files: PositiveInt | None = None
    """Number of the crawl's files to sample. Set either `num_files` or `fraction`."""
    seed: Seed = 0
    """Random seed of the sample. With the same seed, a larger sample contains every smaller one."""
    domains: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")]] = []
    """Registered domains to read from the sampled files, such as "example.co.uk", looked up in the crawl's columnar
    index. Empty reads every domain."""
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{3}$")]] = []
    """ISO 639-3 codes of the languages to read from the sampled files, such as "deu", looked up in the crawl's columnar
    index. Empty reads every language."""

    @model_validator(mode="after")
    def _sample_has_a_size(self) -> Self:
        if (self.fraction is None) == (self.num_files is None):
            raise ValueError(
                f"fraction = {self.fraction}, num_files = {self.num_files}: give exactly one of the two. "
                "Remove or add one."
            )
        if self.subset == "wet" and (self.domains or self.languages):
            raise ValueError(
                'subset = "wet": the index has no WET records. Take out domains and languages, or use "warc".'
            )
        return self

    @property
    def has_responses(self) -> bool:
        return self.subset == "warc"

    def unread(self, heldout_fraction: float) -> Iterator[Unread]:  # noqa: ARG002 - depends on the kind
        if self.fraction == 1:
            yield "seed", "fraction = 1.0", "every file is read"


class TableInput(InputSection):
    """Rows of JSON Lines files (plain, .gz, .zst, .bz2) or of Parquet files, one document each. Dots in a field name
    address nested fields, such as `metadata.url`. Unreadable rows are quarantined with their row number."""

    implementation = "pipelines.source.tables.table_files:Tables"
    kind: Literal["jsonl", "parquet"]
    """Kind of input: `"jsonl"` or `"parquet"`."""
    paths: Paths
    """Files, folders, globs or addresses, as for the kind "warc"; for example
    `hf://datasets/org/name@revision/data/*.parquet` on the Hugging Face Hub."""
    text_field: Text = "text"
    """Field or column that holds the document's text."""
    url_field: Text | None = None
    """Field or column that holds the document's URL. If unset, the URL is the file name and the row, counted from 1:
    `part-0.jsonl#12`."""
    date_field: Text | None = None
    """Field or column that holds the document's date. If unset, documents have no date."""
    licence_field: Text | None = None
    """Field or column that holds the document's licence. If unset, documents have no licence."""
    id_field: Text | None = None
    """Field or column that holds the dataset's own row id, which is stored in `attributes`."""


class TextFilesInput(InputSection):
    """Files that are one document each: plain text and markup (`.txt`, `.text`, `.md`, `.markdown`, `.rst`), taken as
    they are, and saved pages (`.html`, `.htm`, `.xhtml`), extracted as crawled ones are."""

    implementation = "pipelines.source.text_files:TextFiles"
    kind: Literal["text_files"]
    """Kind of input: `"text_files"`."""
    paths: Paths
    """Files, folders, globs or addresses, as for the kind "warc"."""

    @property
    def has_pages(self) -> bool:
        return True


class ChatInput(InputSection):
    """Conversations in JSON Lines or Parquet files, one row each, in the shapes that are usual for fine-tuning. Rows
    that are no sound conversation are quarantined with their row number."""

    implementation = "pipelines.source.chat.chat_files:Chats"
    has_chats = True
    kind: Literal["chat"]
    """Kind of input: `"chat"`."""
    paths: Paths
    """Files, folders, globs or addresses, as for the kind "jsonl"."""
    shape: Literal["auto", "messages", "sharegpt", "alpaca", "completion", "preference"] = "auto"
    """Fields of a row: `messages` with role and content ("messages"), `conversations` with from and value
    ("sharegpt"), `instruction`, `input` and `output` ("alpaca"), `prompt` and `completion` ("completion"), or `prompt`,
    `chosen` and `rejected` ("preference"). By default, each row's own fields decide ("auto")."""
    licence: str = ""
    """Licence of the data set, stored with every conversation: an SPDX id or the data set's own words."""


class PydocInput(InputSection):
    """HTML pages that `pydoc` renders for every importable standard-library module, read back from WARC."""

    implementation = "pipelines.source.python.pydoc_pages:Pydoc"
    kind: Literal["pydoc"]
    """Kind of input: `"pydoc"`."""

    @property
    def has_pages(self) -> bool:
        return True


class DistributionsInput(InputSection):
    """Long descriptions of the Python distributions installed in this environment."""

    implementation = "pipelines.source.python.distributions:Distributions"
    kind: Literal["distributions"]
    """Kind of input: `"distributions"`."""


class PythonSourcesInput(InputSection):
    """`.py` files of the standard library and of installed distributions, with the licence from their metadata."""

    implementation = "pipelines.source.python.python_sources:PythonSources"
    kind: Literal["python_sources"]
    """Kind of input: `"python_sources"`."""
    standard_library: bool = True
    """Read the standard library as well."""
    distributions: list[Text] = []
    """Names of installed distributions to read, such as `rich`."""
    max_file_bytes: PositiveInt = 200_000
    """Size in bytes above which a file is left out."""

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if not self.standard_library and not self.distributions:
            raise ValueError("standard_library = False with no distributions: nothing is left to read. Name some.")
        return self


class RepositoriesInput(InputSection):
    """Code of checked-out repositories: files in import order, with a licence per repository and file."""

    implementation = "pipelines.source.code.repositories:Repositories"
    kind: Literal["repositories"]
    """Kind of input: `"repositories"`."""
    paths: Paths
    """Folders or globs, relative to the recipe's folder. A folder with `.git` or with files of code is one repository;
    in any other folder, each subfolder is one."""
    languages: list[Text] = []
    """Programming languages to keep, by their GitHub names, such as "Python" and "C++". Empty keeps every recognized
    language."""
    max_file_bytes: PositiveInt = 1_000_000
    """Size in bytes above which a file is left out."""
    join_files: bool = False
    """Join the files of a repository into documents of up to a million characters, each file under a line with its
    path."""
    heldout_by: Literal["repository", "file"] = "repository"
    """Unit that is held out: a whole repository, so that no file of it is trained on ("repository"), or single files,
    for a corpus of a few repositories ("file")."""

    def unread(self, heldout_fraction: float) -> Iterator[Unread]:
        if heldout_fraction == 0:
            yield "heldout_by", "source.heldout_fraction = 0.0", "nothing is held out"


class TextToSqlInput(InputSection):
    """Generated SQLite schemas with rows, questions and queries. A query that returns no rows is discarded."""

    implementation = "pipelines.source.text_to_sql.generator:TextToSql"
    has_questions = True
    draws_split = False
    kind: Literal["text_to_sql"]
    """Kind of input: `"text_to_sql"`."""
    num_schemas: PositiveInt
    """Number of training schemas. Each becomes one document with several question-query pairs."""
    num_heldout_schemas: PositiveInt
    """Number of schemas held out for evaluation. No training document contains them."""
    pairs_per_schema: PositiveInt
    """Number of question-query pairs per schema."""
    seed: Seed
    """Random seed of the generator."""


class TextToSqlChatInput(InputSection):
    """Conversations about generated SQLite schemas: questions in several wordings, answered by queries that return
    rows. With the seed of an input of kind "text_to_sql", none of its held-out schemas occurs in them."""

    implementation = "pipelines.source.text_to_sql.chats:TextToSqlChats"
    has_chats = True
    kind: Literal["text_to_sql_chat"]
    """Kind of input: `"text_to_sql_chat"`."""
    num_schemas: PositiveInt
    """Number of schemas. Each becomes one conversation."""
    pairs_per_schema: PositiveInt
    """Number of questions per schema."""
    seed: Seed
    """Random seed of the generator."""


class LedgersInput(InputSection):
    """Generated ledgers: long documents whose entries are stated once, then restated and asked for again, near and
    far."""

    implementation = "pipelines.source.generated.ledgers:Ledgers"
    kind: Literal["ledgers"]
    """Kind of input: `"ledgers"`."""
    num_documents: PositiveInt
    """Number of ledgers, of which `source.heldout_fraction` is held out."""
    min_bytes: PositiveInt = 600
    """Approximate size in bytes of the shortest ledger."""
    max_bytes: PositiveInt = 12_000
    """Approximate size in bytes of the longest ledger. Short ones are more frequent: the logarithm of the size is
    uniform."""
    seed: Seed
    """Random seed of the generator."""

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        if self.min_bytes > self.max_bytes:
            raise ValueError(f"min_bytes = {self.min_bytes} is above max_bytes = {self.max_bytes}. Lower it.")
        return self


class DocstringChatInput(InputSection):
    """Conversations about the functions, classes and methods of the standard library, answered from the first
    paragraphs of their docstrings and from their signatures."""

    implementation = "pipelines.source.python.docstring_chats:DocstringChats"
    has_chats = True
    kind: Literal["docstring_chat"]
    """Kind of input: `"docstring_chat"`."""
    seed: Seed
    """Random seed of the wordings."""


class CodeChatInput(InputSection):
    """Conversations about short programming tasks: a function that is asked for, and a value that it returns. Every
    answer is executed in the sandbox; one that fails, or returns another value than a reference, is left out."""

    implementation = "pipelines.source.code_chat.chats:CodeChats"
    has_chats = True
    kind: Literal["code_chat"]
    """Kind of input: `"code_chat"`."""
    num_tasks: PositiveInt
    """Number of tasks to generate. About two thirds become conversations."""
    seed: Seed
    """Random seed of the generator."""


class AnnotatedInput(InputSection):
    """Documents that an annotation of another corpus made, such as rewritten texts or questions. Each belongs to the
    split, training or held-out, of the document that it was made from."""

    implementation = "pipelines.source.annotated:Annotated"
    draws_split = False
    kind: Literal["annotated"]
    """Kind of input: `"annotated"`."""
    corpus: Name
    """Name of the corpus: one of the run, or `<corpus>.toml` in this recipe's folder."""
    annotation: Name
    """Name of its annotation, which sets `documents`."""

    @property
    def stage_id(self) -> str:
        """Id of the stage that makes the documents."""
        return f"annotate[{self.corpus}.{self.annotation}]"


BUILT_IN: Sequence[type[InputSection]] = tuple(InputSection.__subclasses__())
"""The sections of the kinds above, in their order."""


def names(section: type[InputSection]) -> tuple[str, ...]:
    """The names by which a recipe calls a kind."""
    return get_args(section.model_fields["kind"].annotation)


def _kind(page: Any) -> str | None:
    """The kind of an input as written in a recipe; OWN_CLASS for one of the user's own."""
    kind = page.get("kind") if isinstance(page, dict) else getattr(page, "kind", None)
    return OWN_CLASS if isinstance(kind, str) and ":" in kind else kind


if TYPE_CHECKING:
    Input = InputSection | ExtensionSection
else:
    Input = Annotated[
        Union[
            *(Annotated[section, Tag(name)] for section in BUILT_IN for name in names(section)),
            Annotated[ExtensionSection, Tag(OWN_CLASS)],
        ],
        Discriminator(_kind),
    ]


def kinds_of_chats() -> list[str]:
    """Names of the kinds whose documents are conversations."""
    return [name for section in BUILT_IN if section.has_chats for name in names(section)]
