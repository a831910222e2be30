"""Kinds of input: the methods of a class that a recipe can read from.

A class of your own is named in the recipe and has the same members:

    # own_source.py, beside the recipe
    class Notes(Section):
        path: Annotated[str, Location()]

        def fingerprint(self, folder: InputFolder) -> dict[str, str]:
            return {file.name: file_digest(file) for file in sorted((folder.path / self.path).glob("*.md"))}

        def splits(self, fingerprint: dict[str, str], folder: InputFolder) -> Iterator[InputSplit]:
            for name, digest in fingerprint.items():
                yield InputSplit(NoteFile(folder.path / self.path / name), [name, digest])

    # corpus.toml
    [[source.inputs]]
    kind = "own_source:Notes"
    path = "notes"
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import FileType


class SplitReader(Protocol):
    """The data that one shard reads: a frozen dataclass of plain data, so that it can travel to a worker."""

    def read(self, sink: DocumentSink) -> None:
        """Write, skip or quarantine every record."""


class InputSplit(NamedTuple):
    """One part of an input, which becomes one shard."""

    reader: SplitReader
    fingerprint: Any = None
    """Plain data that fixes the output of `reader`, such as a file's name and sha256, so that a changed file costs its
    own shard only. None: the fingerprint of the whole input."""


class InputKind(Protocol):
    """A kind of input, made from the fields of its section in the recipe."""

    def fingerprint(self, folder: InputFolder) -> Any:
        """Plain data that fixes the content of the input. Raises UserError, whose message starts with a field, if it
        cannot be read."""

    def splits(self, fingerprint: Any, folder: InputFolder) -> Iterator[InputSplit]:
        """The parts of the input, in an order that no folder and no machine changes."""


class BuiltInKind(InputKind, Protocol):
    """A kind of the project: the section of a recipe (`data_recipes.sections.inputs`) with the methods of a kind."""

    def __init__(self, **fields: Any) -> None: ...

    def identity(self) -> dict[str, Any]:
        """Plain data that fixes the documents besides the content: fields, and versions of the code that reads it."""


@runtime_checkable
class FileKind(Protocol):
    """A kind of input that reads files at `paths`."""

    paths: Sequence[str]

    @property
    def file_type(self) -> FileType: ...


@runtime_checkable
class QuestionKind(Protocol):
    """A kind of input that also makes questions about databases which no document shows."""

    def questions(self, prefix: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Rows of QUESTIONS and of DATABASES; `prefix` starts every database id."""
