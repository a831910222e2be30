"""Rows of JSON Lines and Parquet files, streamed: memory depends on the largest row, not on the file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_LINE_BYTES = 16 * 2**20
"""Longer lines are set aside unread, as WARC records of this size are."""
READ_BYTES = 2**20
BATCH_ROWS = 128


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


class BrokenFileError(Exception):
    """A file cannot be read from some place on: the reason."""


Reader = Callable[[Path, Sequence[str]], Iterator[Row | BadRow]]


def read_json_lines(path: Path, fields: Sequence[str]) -> Iterator[Row | BadRow]:
    """`fields` of every line of a JSON Lines file, plain or compressed (.gz, .zst); blank lines are passed over.

    Raises BrokenFileError where a compressed file ends early or is damaged.
    """
    for number, line in enumerate(_lines(_blocks(path)), start=1):
        if line is None:
            yield BadRow(number, f"line of more than the {MAX_LINE_BYTES} bytes that are read")
        elif line.strip():
            yield _parse(number, line, fields)


def read_parquet_rows(path: Path, fields: Sequence[str]) -> Iterator[Row | BadRow]:
    """The columns `fields` of every row. Raises BrokenFileError for a damaged file or one without these columns."""
    try:
        # Without pre-buffering pages are read as they are needed, so a row group may be larger than memory.
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            require_columns(file.schema_arrow.names, fields)
            number = 1
            for batch in file.iter_batches(BATCH_ROWS, columns=list(fields)):
                yield from _rows(batch, number)
                number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise BrokenFileError(f"damaged Parquet file: {_first_line(error)}") from None


def require_columns(names: Sequence[str], fields: Sequence[str]) -> None:
    """Raise BrokenFileError where one of `fields` is missing from a table's columns."""
    for field in fields:
        if field not in names:
            raise BrokenFileError(f"no column {field!r}; the columns are {', '.join(names)}")


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            while block := stream.read(READ_BYTES):
                yield block
    except (OSError, pa.ArrowException) as error:
        raise BrokenFileError(f"damaged file: {_first_line(error)}") from None


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


def _parse(number: int, line: bytes, fields: Sequence[str]) -> Row | BadRow:
    try:
        content = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"no JSON: {_first_line(error)}")
    if not isinstance(content, dict):
        return BadRow(number, f"no JSON object, but {type(content).__name__}")
    return Row(number, {field: content[field] for field in fields if field in content})


def _rows(batch: pa.RecordBatch, first: int) -> Iterator[Row | BadRow]:
    try:
        yield from (Row(number, values) for number, values in enumerate(batch.to_pylist(), start=first))
        return
    except ValueError:
        if batch.num_rows == 1:
            yield BadRow(first, "a value that is no valid text or date")
            return
    for index in range(batch.num_rows):
        yield from _rows(batch.slice(index, 1), first + index)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
