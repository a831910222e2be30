"""Records of a crawl by domain or language, from its columnar index, and the ranges of WARC files that hold them.

The index is Parquet in the order of reversed host names: of a domain only some row groups are read, and of those only
the columns that are needed (https://commoncrawl.org/columnar-index).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.source.tables.rows import BrokenFileError, require_columns

DOMAIN, LANGUAGES = "url_host_registered_domain", "content_languages"
PLACE = ["warc_filename", "warc_record_offset", "warc_record_length"]
MAX_GAP_BYTES = 64 * 2**10
"""Records closer than this come with one request: the gap costs less than another round trip of 10 ms at 6 MB/s."""
MAX_RANGE_BYTES = 16 * 2**20


@dataclass(frozen=True, order=True)
class RecordLocation:
    """The location of a record: bytes of a WARC file as stored."""

    file: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def find_records(index: RawIOBase, domains: Sequence[str], languages: Sequence[str]) -> Iterator[list[RecordLocation]]:
    """Records of one of the registered domains, if any are named, with text in one of the languages, if any are named:
    those of one row group at a time, in order.

    `index` is read by ranges. Raises BrokenFileError if it is damaged or has not the columns.
    """
    columns = [name for name, values in ((DOMAIN, domains), (LANGUAGES, languages)) if values]
    try:
        with pq.ParquetFile(index, pre_buffer=True) as table:
            require_columns(table.schema_arrow.names, [*columns, *PLACE])
            for number in range(table.num_row_groups):
                if not may_hold(table.metadata.row_group(number), domains):
                    continue
                values = _mask(table.read_row_group(number, columns), domains, languages)
                if pc.any(values).as_py():
                    found = table.read_row_group(number, PLACE).filter(values)
                    yield sorted(map(RecordLocation, *(found[name].to_pylist() for name in PLACE)))
    except (pa.ArrowException, OSError) as error:
        raise BrokenFileError(f"unreadable index: {error}") from error


def may_hold(group: pq.RowGroupMetaData, domains: Sequence[str]) -> bool:
    """Whether the smallest and the largest domain of a row group leave room for one that is wanted."""
    columns = (group.column(number) for number in range(group.num_columns))
    statistics = next((column.statistics for column in columns if column.path_in_schema == DOMAIN), None)
    if not domains or statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= domain <= statistics.max for domain in domains)


def ranges(records: Iterable[RecordLocation]) -> Iterator[list[RecordLocation]]:
    """Sorted locations in groups that one request fetches: of one file, close together, and not too much at once."""
    group: list[RecordLocation] = []
    for record in records:
        if group and not _joins(group, record):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _mask(columns: pa.Table, domains: Sequence[str], languages: Sequence[str]) -> pa.ChunkedArray:
    mask = pa.chunked_array([pa.repeat(pa.scalar(True), columns.num_rows)])
    if domains:
        mask = pc.and_(mask, pc.is_in(columns[DOMAIN], pa.array(domains)))
    if languages:
        # Up to three codes a page, the most certain first: "deu,eng".
        pattern = rf"(^|,)({'|'.join(languages)})(,|$)"
        mask = pc.and_(mask, pc.match_substring_regex(pc.fill_null(columns[LANGUAGES], ""), pattern))
    return mask


def _joins(group: list[RecordLocation], record: RecordLocation) -> bool:
    first, last = group[0], group[-1]
    return (
        record.file == first.file
        and record.offset - last.end <= MAX_GAP_BYTES
        and record.end - first.offset <= MAX_RANGE_BYTES
    )
