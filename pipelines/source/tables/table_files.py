"""Documents as rows of JSON Lines and Parquet files, which is how datasets are published."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from arctic_errors import ArcticError
from data_recipes.sections.inputs import TableInput
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import DocumentSink
from pipelines.source.errors import InputError
from pipelines.source.io.blocks import part_of, part_params
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import FileType, LocalFile, printable
from pipelines.source.io.locations import LocatedFile, lose_file, read_file
from pipelines.source.protocol import InputSplit
from pipelines.source.tables.parts import table_parts
from pipelines.source.tables.rows import (
    BadRow,
    BrokenFileError,
    MissingColumnError,
    Reader,
    Row,
    read_json_lines,
    read_parquet_rows,
    require_parquet_columns,
)

FILES: Mapping[str, FileType] = {
    "jsonl": FileType(
        "JSON Lines file",
        tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in ("", ".bz2", ".gz", ".zst")),
    ),
    "parquet": FileType("Parquet file", (".parquet",)),
}
URL_READING_VERSION = 3
"""Part of the key of every input with a field for URLs. Raise it with any change of how they are read."""
READERS: Mapping[str, Reader] = {"jsonl": read_json_lines, "parquet": read_parquet_rows}
FIELDS = ("text_field", "url_field", "date_field", "licence_field", "id_field")
"""Fields of the section that name a field or column of the files."""


class TableFields(Protocol):
    """Names of the fields of a row that become a document, as a `TableInput` has them."""

    @property
    def text_field(self) -> str: ...
    @property
    def url_field(self) -> str | None: ...
    @property
    def date_field(self) -> str | None: ...
    @property
    def licence_field(self) -> str | None: ...
    @property
    def id_field(self) -> str | None: ...


class Tables(TableInput):
    """Files of rows, by name, a shard each, a large one in several; `kind` is a key of FILES."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **({"url_reading": URL_READING_VERSION} if self.url_field else {})}

    @property
    def file_type(self) -> FileType:
        return FILES[self.kind]

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:
        """Raises InputError if a Parquet file here lacks a column. A damaged one is set aside when it is read."""
        files = folder.find(self.paths, self.file_type)
        for file in files:
            if self.kind == "parquet" and isinstance(file, LocalFile):
                _require_columns(file.path, self)
        return folder.fingerprint(files)

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:
        for file, content in folder.fingerprinted(self.paths, self.file_type, fingerprint):
            for part in table_parts(file, content, self.kind) or [content]:
                yield InputSplit(TableFile(file, part, self), [file.name, part_params(part)])


@dataclass(frozen=True)
class TableFile:
    """A file of rows, or a part of one, with the fingerprint of its content."""

    file: LocatedFile
    fingerprint: Any
    section: Tables

    def read(self, sink: DocumentSink) -> None:
        read_file(self.file, self.fingerprint, sink, partial(self._read_rows, sink))

    def _read_rows(self, sink: DocumentSink, path: Path) -> None:
        try:
            for row in READERS[self.section.kind](path, wanted_fields(self.section), part_of(self.fingerprint)):
                take_row(row, self.section, self.file.name, sink)
        except BrokenFileError as error:
            lose_file(sink, self.file.name, str(error))


def wanted_fields(section: TableFields) -> list[str]:
    """Names of the fields that are read, each once."""
    named = (getattr(section, name) for name in FIELDS)
    return list(dict.fromkeys(name for name in named if name is not None))


def take_row(row: Row | BadRow, section: TableFields, origin: str, sink: DocumentSink) -> None:
    """Keep, skip or quarantine one row of the file that is known as `origin`."""
    row_origin = f"{origin}#{row.number}"
    if isinstance(row, BadRow):
        sink.quarantine(row_origin, row.reason)
        return
    text = row.values.get(section.text_field)
    if _is_missing(text):
        text = None
    if text is not None and not isinstance(text, str):
        sink.quarantine(row_origin, f"{section.text_field} is no text, but {type(text).__name__}")
    elif section.text_field not in row.values:
        sink.quarantine(row_origin, f"no field {section.text_field!r}")
    elif not text or text.isspace():
        sink.skip("no_text")
    else:
        try:
            document = _document(text, row, section, origin, sink.heldout_fraction)
        except _UnreadableFieldError as error:
            sink.quarantine(row_origin, str(error))
        else:
            sink.write(document)


class _UnreadableFieldError(ArcticError, ValueError):
    """A field that is no text and cannot be written as one."""


def _document(text: str, row: Row, section: TableFields, origin: str, heldout_fraction: float) -> Document:
    """Raises _UnreadableFieldError."""

    def text_of(field: str | None) -> str | None:
        return _stored(field, row.values.get(field)) if field else None

    url = _url(text_of(section.url_field)) or f"{origin}#{row.number}"
    row_id = text_of(section.id_field)
    return Document(
        text=_stored(section.text_field, text) or "",
        url=url,
        origin=origin,
        split=draw_split(url, heldout_fraction),
        offset=row.number,
        date=text_of(section.date_field),
        licence=text_of(section.licence_field),
        attributes=json.dumps({"id": row_id}, ensure_ascii=False) if row_id else None,
    )


def _url(text: str | None) -> str | None:
    return None if text and text.strip().casefold() in _NO_URL else text


def _stored(field: str, value: Any) -> str | None:
    """A field as text in UTF-8, None if it is missing or blank. Raises _UnreadableFieldError."""
    try:
        text = _as_text(value)
        return text.encode().decode() if text and not text.isspace() else None
    except UnicodeEncodeError as error:
        # JSON can escape halves of a character, which no encoding has.
        raise _UnreadableFieldError(f"undecodable text: {error.reason} at character {error.start} of {field}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _UnreadableFieldError(f"{field}: {error}") from None


def _as_text(value: Any) -> str | None:
    """A field as the metadata's own words: text as it is, dates in ISO 8601, everything else as JSON; None if it is
    empty."""
    if isinstance(value, str):
        return value
    if _is_empty(value):
        return None
    plain = _plain(value) if isinstance(value, _WRITTEN_AS_TEXT) else value
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, default=_plain)


_WRITTEN_AS_TEXT = (bytes, date, time, Decimal, UUID)


def _plain(value: Any) -> str:
    """Types that JSON lacks, as text. Raises TypeError if it has no text that is read one way only."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(f"no text, but {type(value).__name__}")


_NO_URL = frozenset(
    (
        *("nan", "nat", "none", "null", "<na>", "na", "n/a", "#n/a", "nil", "undefined"),
        *("inf", "-inf", "infinity", "-infinity", "[]", "{}", "()"),
    )
)
"""Texts into which Python, pandas, spreadsheets and JavaScript turn a missing value, number or list, in small
letters."""


def _is_missing(value: Any) -> bool:
    """Whether a value means that there is none: null, or the NaN that pandas writes instead."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_empty(value: Any) -> bool:
    """Whether a value is missing, blank, or a list or object of nothing else."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_empty, value))
    return _is_missing(value) or (isinstance(value, str) and not value.strip())


def _require_columns(path: Path, item: TableFields) -> None:
    for name in FIELDS:
        column = getattr(item, name)
        try:
            require_parquet_columns(path, [column] if column else [])
        except MissingColumnError as error:
            field = f"{name} = {column!r}: {printable(path)}"
            raise InputError(f"{field}: {error}. Correct the field or the file.") from None
        except BrokenFileError:
            return
