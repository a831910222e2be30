"""A sample of one crawl of Common Crawl: whole WARC or WET files, or only the records that its columnar index names."""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.inputs import CommonCrawlInput
from data_recipes.section import RecipeError
from pipelines.source.io import http_client
from pipelines.source.io.http_client import HttpError
from pipelines.source.io.locations import WebFile, lose_file
from pipelines.source.io.ranged_file import RangedFile
from pipelines.source.reading import Part, Reading
from pipelines.source.tables.rows import BrokenFileError
from pipelines.source.web.crawl_index import RecordPlace, find_records, ranges
from pipelines.source.web.crawl_lists import listed_files
from pipelines.source.web.warc.files import WarcFile, take_page
from pipelines.source.web.warc.responses import MAX_RECORD_BYTES, read_record

INDEX_LIST = "cc-index-table.paths.gz"
INDEX_SUBSET = "/subset=warc/"
"""The part of the index that has the pages; the others have robots.txt files, redirects and errors."""


@dataclass(frozen=True)
class IndexFile:
    """One file of the index; of the records that it names, those in WARC files whose draw is up to `last_draw`."""

    section: CommonCrawlInput
    name: str
    last_draw: str

    def read(self, reading: Reading) -> None:
        reading.counts["files"] += 1
        index = RangedFile(_url(self.section, self.name))
        try:
            for places in find_records(index, self.section.domains, self.section.languages):
                for group in ranges(place for place in places if draw(self.section.seed, place.file) <= self.last_draw):
                    read_range(_url(self.section, group[0].file), group, reading)
        except BrokenFileError as error:
            lose_file(reading, self.name, str(error))


def pin(item: CommonCrawlInput, folder: Path) -> dict[str, Any]:  # noqa: ARG001 - lies in no folder
    """Digests of the crawl's lists of files, and the files of the sample by name. Raises RecipeError."""
    list_name = f"{item.subset}.paths.gz"
    files, digest = _listed(item, list_name)
    pins: dict[str, Any] = {"lists": {list_name: digest}, "files": sample(files, item)}
    if _is_searched(item):
        index, digest = _listed(item, INDEX_LIST)
        pins["lists"][INDEX_LIST] = digest
        pins["index_files"] = sorted(name for name in index if INDEX_SUBSET in name)
    return pins


def parts(item: CommonCrawlInput, pinned: Mapping[str, Any], folder: Path) -> Iterator[Part]:  # noqa: ARG001
    """One shard a WARC file, by name; or one a file of the index, each with the records it names."""
    if not _is_searched(item):
        yield from (WarcFile(WebFile(_url(item, name), name), None) for name in pinned["files"])
        return
    last_draw = max(draw(item.seed, name) for name in pinned["files"])
    yield from (IndexFile(item, name, last_draw) for name in pinned["index_files"])


def sample(names: list[str], item: CommonCrawlInput) -> list[str]:
    """The files of `names` with the lowest draws, by name: a larger sample of one seed has the smaller one in it."""
    count = item.num_files or max(1, round((item.fraction or 0.0) * len(names)))
    if count > len(names):
        raise RecipeError(f"num_files = {count}: {item.crawl} has {len(names)} {item.subset} files. Take fewer.")
    return sorted(heapq.nsmallest(count, names, key=lambda name: draw(item.seed, name)))


def draw(seed: int, name: str) -> str:
    """The place of a file in the order in which samples grow, as 64 hex digits."""
    return hashlib.sha256(f"common_crawl\n{seed}\n{name}".encode()).hexdigest()


def read_range(url: str, group: list[RecordPlace], reading: Reading) -> None:
    """Take the documents of neighbouring records of the WARC file at `url`, which one request brings."""
    start = group[0].offset
    if group[0].length > MAX_RECORD_BYTES:
        _lose_records(group, f"record of more than the {MAX_RECORD_BYTES} bytes that are read", reading)
        return
    try:
        content = http_client.CLIENT.read(url, start, group[-1].end - start)
    except HttpError as error:
        _lose_records(group, str(error), reading)
        return
    for place in group:
        for response in read_record(content[place.offset - start : place.end - start], place.offset):
            take_page(response, reading, place.file)


def _lose_records(group: list[RecordPlace], reason: str, reading: Reading) -> None:
    for place in group:
        reading.quarantine(f"{place.file}:{place.offset}", reason)


def _listed(item: CommonCrawlInput, list_name: str) -> tuple[list[str], str]:
    return listed_files(_url(item, f"crawl-data/{item.crawl}/{list_name}"))


def _is_searched(item: CommonCrawlInput) -> bool:
    return bool(item.domains or item.languages)


def _url(item: CommonCrawlInput, name: str) -> str:
    return f"{item.base_url.rstrip('/')}/{name}"
