"""The first rows of JSON Lines and Parquet files, and whether they are conversations."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts.conversations import Conversation
from pipelines.source.chat.shapes import ChatError, conversation
from pipelines.source.tables.packed_files import PackingError, unpacked_blocks

ROWS_PER_FILE = 40
READ_BYTES = 2**20

JsonObject = Mapping[str, Any]


def rows_of(files: Sequence[Path]) -> list[JsonObject]:
    """Some rows of each file. Rows and files that cannot be read are left out: their own reader reports them."""
    return [
        row
        for path in files
        for row in islice(_parquet_rows(path) if path.suffix.lower() == ".parquet" else _json_rows(path), ROWS_PER_FILE)
    ]


def are_conversations(path: Path) -> bool:
    """Whether most of the first rows of a file are sound conversations."""
    rows = rows_of([path])
    return 2 * sum(chat_of(row) is not None for row in rows) > len(rows)


def chat_of(row: JsonObject) -> Conversation | None:
    """The conversation in a row; None if it is none."""
    try:
        return conversation(row)
    except ChatError:
        return None


def flattened(row: JsonObject, prefix: str = "") -> dict[str, Any]:
    """The fields of a row, nested ones by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _parquet_rows(path: Path) -> Iterator[JsonObject]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_FILE):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError):
        return


def _json_rows(path: Path) -> Iterator[JsonObject]:
    try:
        lines = next(iter(unpacked_blocks(path, READ_BYTES)), b"").split(b"\n")
    except PackingError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
