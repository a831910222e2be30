"""Rows of JSON Lines and Parquet files, streamed: memory depends on the largest row, not on the file."""

import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arctic_errors import ArcticError
from pipelines.source.io.blocks import FilePart
from pipelines.source.tables.arrow_values import Unreadable, exact_int96, plain_values
from pipelines.source.tables.foreign_formats import HEAD_BYTES, foreign_format
from pipelines.source.tables.packed_files import ForeignFormatError, PackingError, unpacked_blocks
from pipelines.source.tables.parts import blocks_of_lines, row_groups

MAX_LINE_BYTES = 16 * 2**20
"""Longer lines are set aside unread, as WARC records of this size are."""
READ_BYTES = 2**20
BATCH_ROWS = 128
_INT96 = "INT96"
_MARK = "\ufeff"
_HEAD_BYTES = 4096
_NO_LINES = {
    re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*[\[{]"): (
        "JSON arrays, and not one object a line. Convert the file: jq -c '.[]' FILE > NEW.jsonl"
    ),
    re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*\n\s*"'): (
        "JSON objects of several lines each, and not one a line. Convert the file: jq -c . FILE > NEW.jsonl"
    ),
    re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml)\b", re.IGNORECASE): (
        "a page, such as servers send in the place of a file, and not JSON Lines. Download the file again"
    ),
}
"""How files start of which no line is a row, though they may hold any number of documents."""


@dataclass(frozen=True)
class Row:
    """The wanted fields that row `number`, counted from 1, has."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read."""

    number: int
    reason: str


class BrokenFileError(ArcticError):
    """A file cannot be read beyond some position: the reason."""


class MissingColumnError(BrokenFileError):
    """A Parquet file is sound, and has not the columns that the recipe asks for."""


Reader = Callable[[Path, Sequence[str], FilePart | None], Iterator[Row | BadRow]]
"""Takes a file, the names of fields, and the part of the file to read; None for all of it."""


def read_json_lines(path: Path, fields: Sequence[str], part: FilePart | None = None) -> Iterator[Row | BadRow]:
    """`fields` of every line of a JSON Lines file, plain or compressed (.gz, .zst, .bz2); blank lines are passed over.
    `part`: of a plain file, only the lines that begin there.

    Dots in the name of a field lead into nested objects, unless a field has that very name. Raises BrokenFileError if a
    compressed file ends early or is damaged, or if its lines are no rows.
    """
    _require_lines(path)
    first, blocks = (1, _blocks(path, READ_BYTES)) if part is None else blocks_of_lines(path, part, READ_BYTES)
    for number, line in enumerate(_lines(blocks), start=first):
        if line is None:
            yield BadRow(number, f"line of more than the {MAX_LINE_BYTES} bytes that are read")
        elif line and (row := _parse(number, line, fields)):
            yield row


def read_parquet_rows(path: Path, fields: Sequence[str], part: FilePart | None = None) -> Iterator[Row | BadRow]:
    """The columns `fields` of every row; dots lead into nested fields, unless a column has that very name. `part`: only
    the row groups that begin there.

    Raises BrokenFileError for a damaged file or one without these columns.
    """
    with _errors_as_broken_file_error():
        content = _mapped(path)
        file = _open(content, "ns")
        columns = _find_columns(file, fields)
        number, groups = row_groups(file.metadata, part)
        seconds = {column.field: _seconds(content, column, groups) for column in columns if column.is_int96}
        for batch in file.iter_batches(BATCH_ROWS, columns=list(fields), row_groups=groups):
            values = [
                exact_int96(column.values(batch), seconds[column.field])
                if column.is_int96
                else plain_values(column.values(batch))
                for column in columns
            ]
            for row in zip(*values, strict=True):
                yield _row(number, fields, row)
                number += 1


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file. Raises BrokenFileError."""
    with _errors_as_broken_file_error():
        return list(_open(_mapped(path), "ns").schema_arrow.names)


def require_parquet_columns(path: Path, fields: Sequence[str]) -> None:
    """Raise BrokenFileError if one of `fields` is missing from a Parquet file that can be read."""
    with _errors_as_broken_file_error():
        _find_columns(_open(_mapped(path), "ns"), fields)


def require_columns(names: Sequence[str], fields: Sequence[str]) -> None:
    """Raise MissingColumnError if one of `fields` is missing from a table's columns."""
    for field in fields:
        if field not in names:
            raise MissingColumnError(f"no column {field!r}; the columns are {', '.join(names)}")


def nested_value(content: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Whether `content` has the field `name`, and its value. Below a null all is null."""
    if name in content:
        return True, content[name]
    head, dot, rest = name.partition(".")
    inner = content.get(head)
    if dot and isinstance(inner, Mapping):
        return nested_value(inner, rest)
    return bool(dot) and head in content and inner is None, None


def _require_lines(path: Path) -> None:
    head = next(_blocks(path, _HEAD_BYTES), b"")
    for start, fault in _NO_LINES.items():
        if start.match(head):
            raise BrokenFileError(fault)


def _blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    try:
        yield from unpacked_blocks(path, block_bytes)
    except ForeignFormatError as error:
        raise BrokenFileError(str(error)) from None
    except PackingError as error:
        raise BrokenFileError(f"damaged file: {error}") from None


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines without their ends; None for one that is too long, of which no more than that is held."""
    held: bytes | None = b""
    for block in blocks:
        first, *others = block.split(b"\n")
        held = _joined(held, first)
        for line in others:
            yield held
            held = _joined(b"", line)
    yield held


def _joined(held: bytes | None, more: bytes) -> bytes | None:
    return None if held is None or len(held) + len(more) > MAX_LINE_BYTES else held + more


def _parse(number: int, line: bytes, fields: Sequence[str]) -> Row | BadRow | None:
    """None for a line of blanks alone."""
    try:
        # Files that were put together from others have marks within.
        text = line.decode().strip(_MARK)
        if not text or text.isspace():
            return None
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"no JSON: {_first_line(error)}")
    if not isinstance(content, dict):
        return BadRow(number, f"no JSON object, but {type(content).__name__}")
    values = {field: content[field] for field in fields if field in content}
    if len(values) < len(fields):
        nested = ((field, nested_value(content, field)) for field in fields)
        values = {field: value for field, (has_field, value) in nested if has_field}
    return Row(number, values)


@dataclass(frozen=True)
class _Column:
    """The location of a field's values: the name of a column and those of nested fields below it."""

    field: str
    path: tuple[str, ...]
    is_int96: bool = False

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        array = batch.column(self.path[0])
        for name in self.path[1:]:
            array = pc.struct_field(array, array.type.get_field_index(name))
        return array


def _find_columns(file: pq.ParquetFile, fields: Sequence[str]) -> list[_Column]:
    """The columns of `fields`. Raises MissingColumnError."""
    schema = file.schema_arrow
    stored = {column.path: column.physical_type for column in map(file.schema.column, range(len(file.schema)))}
    columns = []
    for field in fields:
        path = _path(schema, field)
        if any(kind == _INT96 and name.startswith(f"{field}.") for name, kind in stored.items()):
            raise MissingColumnError(f"{field}: timestamps of the old kind INT96 within lists or structs are not read")
        columns.append(_Column(field, path, stored.get(field) == _INT96))
    return columns


def _path(schema: pa.Schema, field: str) -> tuple[str, ...]:
    if schema.names.count(field) > 1:
        raise MissingColumnError(f"{schema.names.count(field)} columns are named {field!r}. Rename all but one")
    path = _nested_path(schema, schema.names, field)
    if path is None:
        require_columns(schema.names, [field])
    return path or (field,)


def _nested_path(parent: Any, names: Sequence[str], field: str) -> tuple[str, ...] | None:
    if field in names:
        return (field,)
    head, dot, rest = field.partition(".")
    if not dot or names.count(head) != 1:
        return None
    kind = parent.field(head).type
    if not pa.types.is_struct(kind):
        return None
    below = _nested_path(kind, [kind.field(index).name for index in range(kind.num_fields)], rest)
    return (head, *below) if below else None


def _row(number: int, fields: Sequence[str], values: Sequence[Any]) -> Row | BadRow:
    for field, value in zip(fields, values, strict=True):
        if isinstance(value, Unreadable):
            return BadRow(number, f"{field}: {value.reason}")
    return Row(number, dict(zip(fields, values, strict=True)))


def _seconds(content: pa.Buffer, column: _Column, groups: Sequence[int]) -> Iterator[int | None]:
    """The whole seconds of INT96 timestamps, which no date overflows."""
    for batch in _open(content, "s").iter_batches(BATCH_ROWS, columns=[column.field], row_groups=groups):
        yield from column.values(batch).cast(pa.int64()).to_pylist()


def _open(content: pa.Buffer, int96_unit: str) -> pq.ParquetFile:
    # Without pre-buffering pages are read as they are needed, so a row group may be larger than memory.
    return pq.ParquetFile(
        pa.BufferReader(content),
        pre_buffer=False,
        coerce_int96_timestamp_unit=int96_unit,
        page_checksum_verification=True,
    )


def _mapped(path: Path) -> pa.Buffer:
    """The file's bytes as the disk has them. Arrow itself opens no file whose name is not UTF-8.

    Raises BrokenFileError for a file of another format.
    """
    with path.open("rb") as file:
        if fault := foreign_format(file.read(HEAD_BYTES), "Parquet"):
            raise BrokenFileError(fault)
        return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def _errors_as_broken_file_error() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, OverflowError, TypeError, pa.ArrowException) as error:
        raise BrokenFileError(f"damaged Parquet file: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    """The message of an error, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__
