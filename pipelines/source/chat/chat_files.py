"""Conversations as rows of JSON Lines and Parquet files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import ChatInput
from pipelines.artifacts.conversations import Conversation
from pipelines.artifacts.documents import Document
from pipelines.source.chat.shapes import FIELDS, ChatError, conversation
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.blocks import part_of, part_params
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import FileType
from pipelines.source.io.locations import LocatedFile, lose_file, read_file
from pipelines.source.protocol import InputSplit
from pipelines.source.tables.parts import table_parts
from pipelines.source.tables.rows import (
    BadRow,
    BrokenFileError,
    Row,
    parquet_columns,
    read_json_lines,
    read_parquet_rows,
)
from pipelines.source.tables.table_files import FILES

SUFFIXES = {kind: files.suffixes for kind, files in FILES.items()}


class Chats(ChatInput):
    """Files of conversations, by name, a shard each, a large one in several."""

    @property
    def file_type(self) -> FileType:
        return FileType("JSON Lines or Parquet file", tuple(name for names in SUFFIXES.values() for name in names))

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:
        """Fingerprints of the content of each file. Raises InputError if there is none."""
        return folder.fingerprint(folder.find(self.paths, self.file_type))

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:
        for file, content in folder.fingerprinted(self.paths, self.file_type, fingerprint):
            for part in table_parts(file, content, _kind(file)) or [content]:
                yield InputSplit(ChatFile(file, part, self), [file.name, part_params(part)])


@dataclass(frozen=True)
class ChatFile:
    """A file of conversations, or a part of one, with the fingerprint of its content."""

    file: LocatedFile
    fingerprint: Any
    section: Chats

    def read(self, sink: DocumentSink) -> None:
        read_file(self.file, self.fingerprint, sink, partial(self._read_rows, sink))

    def _read_rows(self, sink: DocumentSink, path: Path) -> None:
        try:
            for row in self._rows(path):
                self._take(row, sink)
        except BrokenFileError as error:
            lose_file(sink, self.file.name, str(error))

    def _rows(self, path: Path) -> Iterator[Row | BadRow]:
        part = part_of(self.fingerprint)
        if _kind(self.file) == "jsonl":
            return read_json_lines(path, FIELDS, part)
        columns = parquet_columns(path)
        return read_parquet_rows(path, [field for field in FIELDS if field in columns], part)

    def _take(self, row: Row | BadRow, sink: DocumentSink) -> None:
        """Keep or quarantine one row."""
        origin = f"{self.file.name}#{row.number}"
        if isinstance(row, BadRow):
            sink.quarantine(origin, row.reason)
            return
        try:
            chat = conversation(row.values, self.section.shape)
        except ChatError as error:
            sink.quarantine(origin, str(error))
        else:
            sink.write(self._document(chat, row.number, sink))

    def _document(self, chat: Conversation, number: int, sink: DocumentSink) -> Document:
        return Document(
            text=chat.text,
            url=f"{self.file.name}#{number}",
            origin=self.file.name,
            # Answers to one prompt belong to the same split.
            split=sink.draw_split(chat.prompt),
            offset=number,
            licence=self.section.licence or None,
            attributes=chat.attributes,
        )


def _kind(file: LocatedFile) -> str:
    return "parquet" if file.name.endswith(SUFFIXES["parquet"]) else "jsonl"
