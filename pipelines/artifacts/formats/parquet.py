"""Parquet files of a store: every page carries a checksum, which is verified when the page is read.

A checksum covers a page's values (format/src/main/thrift/parquet.thrift, PageHeader.crc). The footer, which holds the
offsets of the pages, has a digest in the result's manifest. So a reader of one column pays for that column alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.integrity import damage_named, require_intact_footer


def write_table(table: pa.Table, file: Path, **options: Any) -> None:
    """Write a whole table; `options` as of `pyarrow.parquet.write_table`."""
    pq.write_table(table, file, compression="zstd", write_page_checksum=True, **options)


def parquet_writer(file: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer that takes a table by parts."""
    return pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True)


def read_table(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Rows of a file. Raises DamageError if it is committed and a page read is not as it was committed."""
    with damage_named(file):
        require_intact_footer(file)
        # `pyarrow.parquet.read_table` makes a dataset first, which takes longer than reading a column of ids.
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            table = opened.read(columns=columns)
        # A file gives its columns in its own order, and passes over names that it does not have.
        return table if columns is None else table.select(columns)


def read_schema(file: Path) -> pa.Schema:
    """Columns of a file. Raises DamageError as `read_table` does."""
    with damage_named(file):
        require_intact_footer(file)
        return pq.read_schema(file)


class ParquetFile:
    """A file that is read by parts. Raises DamageError as `read_table` does."""

    def __init__(self, file: Path) -> None:
        self._path = file
        with damage_named(file):
            require_intact_footer(file)
            self._file = pq.ParquetFile(file, page_checksum_verification=True)

    @property
    def metadata(self) -> pq.FileMetaData:
        return self._file.metadata

    @property
    def num_row_groups(self) -> int:
        return int(self._file.num_row_groups)

    def iter_batches(self, batch_size: int = 65536, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows in order, `batch_size` at a time."""
        with damage_named(self._path):
            batches = self._file.iter_batches(batch_size, columns=columns)
        while True:
            with damage_named(self._path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def read_row_group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of one row group."""
        with damage_named(self._path):
            return self._file.read_row_group(number, columns=columns)
