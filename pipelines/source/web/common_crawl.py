"""A sample of one crawl of Common Crawl: whole WARC or WET files, or only the records that its columnar index names."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data_recipes.sections.inputs import CommonCrawlInput
from pipelines.source.document_sink import DocumentSink
from pipelines.source.errors import InputError
from pipelines.source.io import http_client
from pipelines.source.io.http_client import HttpError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.locations import WebFile, lose_file
from pipelines.source.io.ranged_file import RangedFile
from pipelines.source.protocol import InputSplit
from pipelines.source.tables.rows import BrokenFileError
from pipelines.source.web.crawl_index import RecordLocation, find_records, ranges
from pipelines.source.web.crawl_lists import listed_files
from pipelines.source.web.extraction.extract import EXTRACTION_VERSION
from pipelines.source.web.warc.http import RESPONSES_VERSION
from pipelines.source.web.warc.responses import MAX_RECORD_BYTES, read_record
from pipelines.source.web.warc_files import WarcFile, take_page

INDEX_LIST = "cc-index-table.paths.gz"
INDEX_SUBSET = "/subset=warc/"
"""The part of the index that has the pages; the others have robots.txt files, redirects and errors."""


class CommonCrawl(CommonCrawlInput):
    """A sample of one crawl, whole files or the records of `domains` and `languages` alone."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "extraction": EXTRACTION_VERSION, "responses": RESPONSES_VERSION}

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """Digests of the crawl's lists of files, and the files of the sample by name. Raises InputError."""
        list_name = f"{self.subset}.paths.gz"
        files, digest = self._listed(list_name)
        fingerprints: dict[str, Any] = {"lists": {list_name: digest}, "files": sample(files, self)}
        if self._is_searched:
            index, digest = self._listed(INDEX_LIST)
            fingerprints["lists"][INDEX_LIST] = digest
            fingerprints["index_files"] = sorted(name for name in index if INDEX_SUBSET in name)
        return fingerprints

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        """One split a WARC file, by name; or one a file of the index, each with the records it names."""
        if not self._is_searched:
            for name in fingerprint["files"]:
                yield InputSplit(WarcFile(WebFile(self.url(name), name), None), [name, None])
            return
        last_draw = max(draw(self.seed, name) for name in fingerprint["files"])
        for name in fingerprint["index_files"]:
            yield InputSplit(IndexFile(self, name, last_draw))

    def url(self, name: str) -> str:
        """Address of one of the crawl's files."""
        return f"{self.base_url.rstrip('/')}/{name}"

    @property
    def _is_searched(self) -> bool:
        return bool(self.domains or self.languages)

    def _listed(self, list_name: str) -> tuple[list[str], str]:
        return listed_files(self.url(f"crawl-data/{self.crawl}/{list_name}"))


@dataclass(frozen=True)
class IndexFile:
    """One file of the index; of the records that it names, those in WARC files whose draw is up to `last_draw`."""

    section: CommonCrawl
    name: str
    last_draw: str

    def read(self, sink: DocumentSink) -> None:
        sink.counts["files"] += 1
        index = RangedFile(self.section.url(self.name))
        try:
            for rows in find_records(index, self.section.domains, self.section.languages):
                for group in ranges(row for row in rows if draw(self.section.seed, row.file) <= self.last_draw):
                    read_range(self.section.url(group[0].file), group, sink)
        except BrokenFileError as error:
            lose_file(sink, self.name, str(error))


def sample(names: list[str], item: CommonCrawl) -> list[str]:
    """The files of `names` with the lowest draws, by name: a larger sample of one seed has the smaller one in it."""
    count = item.num_files or max(1, round((item.fraction or 0.0) * len(names)))
    if count > len(names):
        raise InputError(f"num_files = {count}: {item.crawl} has {len(names)} {item.subset} files. Take fewer.")
    return sorted(heapq.nsmallest(count, names, key=lambda name: draw(item.seed, name)))


def draw(seed: int, name: str) -> str:
    """The rank of a file in the order in which samples grow, as 64 hex digits."""
    return hashlib.sha256(f"common_crawl\n{seed}\n{name}".encode()).hexdigest()


def read_range(url: str, group: list[RecordLocation], sink: DocumentSink) -> None:
    """Take the documents of neighbouring records of the WARC file at `url`, which one request brings."""
    start = group[0].offset
    if group[0].length > MAX_RECORD_BYTES:
        _lose_records(group, f"record of more than the {MAX_RECORD_BYTES} bytes that are read", sink)
        return
    try:
        content = http_client.CLIENT.read(url, start, group[-1].end - start)
    except HttpError as error:
        _lose_records(group, str(error), sink)
        return
    for record in group:
        for response in read_record(content[record.offset - start : record.end - start], record.offset):
            take_page(response, sink, record.file)


def _lose_records(group: list[RecordLocation], reason: str, sink: DocumentSink) -> None:
    for record in group:
        sink.quarantine(f"{record.file}:{record.offset}", reason)
