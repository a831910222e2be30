"""Parts of large files of rows: lines of a plain JSON Lines file, row groups of a Parquet file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.source.io.blocks import FilePart, part, parts
from pipelines.source.io.local_files import LocalFile
from pipelines.source.io.locations import LocatedFile
from pipelines.source.tables.packed_files import is_packed

_FOOTER_END_BYTES = 8
"""Length of the footer, and the closing magic (parquet-format, README)."""


def table_parts(file: LocatedFile, fingerprint: Any, kind: str) -> list[FilePart]:
    """The parts of a large file of this machine; none if it is small, compressed, damaged or elsewhere, and is read in
    one piece. `kind`: "jsonl" or "parquet"."""
    whole = list(parts(fingerprint))
    if not whole or not isinstance(file, LocalFile):
        return []
    if kind == "jsonl":
        return [] if is_packed(file.path) else whole
    try:
        metadata = pq.read_metadata(file.path)
    except (OSError, pa.ArrowException):
        return []
    begun = ((each, row_groups(metadata, each)[1]) for each in whole)
    return [_of_groups(each, groups, metadata, fingerprint) for each, groups in begun if groups]


def row_groups(metadata: pq.FileMetaData, part: FilePart | None) -> tuple[int, list[int]]:
    """Number of the first row, from 1, and the row groups that begin in `part`; None: all."""
    numbers = range(metadata.num_row_groups)
    groups = [number for number in numbers if part is None or part.start <= _span(metadata, number)[0] < part.stop]
    before = sum(metadata.row_group(number).num_rows for number in range(groups[0])) if groups else 0
    return before + 1, groups


def blocks_of_lines(path: Path, part: FilePart, read_bytes: int) -> tuple[int, Iterator[bytes]]:
    """Number of the first line that begins in `part`, from 1, and the bytes of all lines that begin there."""
    with path.open("rb") as file:
        first = _next_line(file, part.start - 1, read_bytes) if part.start else 0
        end = _next_line(file, part.stop - 1, read_bytes)
    return part.newlines_before + 1 + (first > part.start), _read(path, first, end, read_bytes)


def _next_line(file: BinaryIO, position: int, read_bytes: int) -> int:
    """Offset after the first newline at or after `position`, or of the file's end."""
    file.seek(position)
    while content := file.read(read_bytes):
        if (newline := content.find(b"\n")) >= 0:
            return position + newline + 1
        position += len(content)
    return position


def _read(path: Path, start: int, end: int, read_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (content := file.read(min(read_bytes, end - start))):
            yield content
            start += len(content)


def _span(metadata: pq.FileMetaData, number: int) -> tuple[int, int]:
    """Start and end of the bytes of a row group."""
    group = metadata.row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    return min(starts), max(start + column.total_compressed_size for start, column in zip(starts, columns, strict=True))


def _of_groups(
    block: FilePart, groups: list[int], metadata: pq.FileMetaData, fingerprint: Mapping[str, Any]
) -> FilePart:
    """`block` with the digests of all blocks that its row groups and the footer lie in."""
    size, footer_bytes = fingerprint["block_bytes"], metadata.serialized_size + _FOOTER_END_BYTES
    spans = [_span(metadata, number) for number in groups]
    spans.append((fingerprint["size_bytes"] - footer_bytes, fingerprint["size_bytes"]))
    touched = {number for start, end in spans for number in range(start // size, (end - 1) // size + 1)}
    return part(fingerprint, block.start, block.stop, block.newlines_before, sorted(touched))
