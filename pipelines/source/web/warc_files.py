"""Crawled pages from WARC files: the choice of files, and the documents of each record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import WarcInput
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.blocks import FilePart, part_of, part_params, parts
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import FileType
from pipelines.source.io.locations import LocatedFile, read_file
from pipelines.source.protocol import InputSplit
from pipelines.source.web.extraction.extract import EXTRACTION_VERSION
from pipelines.source.web.pages import NotAPage, page_document
from pipelines.source.web.warc.http import RESPONSES_VERSION
from pipelines.source.web.warc.records import NO_RECORD
from pipelines.source.web.warc.responses import SPLITTABLE, SUFFIXES, Damage, Response, read_responses

WARC = FileType("WARC file", SUFFIXES)


@dataclass(frozen=True)
class WarcFile:
    """A WARC file, or a part of one, with the fingerprint of its content."""

    file: LocatedFile
    fingerprint: Any

    def read(self, sink: DocumentSink) -> None:
        read = partial(read_pages, sink=sink, origin=self.file.name, part=part_of(self.fingerprint))
        read_file(self.file, self.fingerprint, sink, read)


class WarcFiles(WarcInput):
    """WARC and WET files, by name, a shard each, a large one in several."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "extraction": EXTRACTION_VERSION, "responses": RESPONSES_VERSION}

    @property
    def file_type(self) -> FileType:
        return WARC

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:
        return folder.fingerprint(folder.find(self.paths, WARC))

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:
        for file, content in folder.fingerprinted(self.paths, WARC, fingerprint):
            is_splittable = file.name.lower().endswith(SPLITTABLE)
            for part in (list(parts(content)) if is_splittable else []) or [content]:
                yield InputSplit(WarcFile(file, part), [file.name, part_params(part)])


def read_pages(path: Path, sink: DocumentSink, origin: str | None = None, part: FilePart | None = None) -> None:
    """Take the documents of every response in `part` of the WARC file `path`, known as `origin` if that is not its
    name. A file that has no record, such as a server's error page, is counted as lost."""
    is_lost: bool | None = None
    for response in read_responses(path, part=part):
        is_lost = is_lost is None and isinstance(response, Damage) and response.reason == NO_RECORD
        take_page(response, sink, origin or path.name)
    sink.counts["lost_files"] += part is None and bool(is_lost)


def take_page(response: Response | Damage, sink: DocumentSink, origin: str) -> None:
    """Keep, skip or quarantine one record of the WARC file that is known as `origin`."""
    if isinstance(response, Damage):
        sink.quarantine(_place(response, origin), response.reason)
        return
    if not response.url:
        # A page without an address is known by its place, or all of them would be one page and in one split.
        response = replace(response, url=_place(response, origin))
    try:
        page = page_document(response, origin, sink.extractor, sink.heldout_fraction, sink.text_format, sink.read_pdf)
    except ValueError as error:
        sink.quarantine(_place(response, origin), str(error))
        return
    # The exceptions of third-party parsers on a malicious page are not known beforehand.
    except Exception as error:
        sink.quarantine(_place(response, origin), f"page cannot be read: {type(error).__name__}: {error}")
        return
    if isinstance(page, NotAPage):
        sink.skip(page.reason, kind=page.kind)
    else:
        sink.write(page)


def _place(response: Response | Damage, origin: str) -> str:
    """Location of a record: at an offset of the file, or inside the compressed member that starts at one."""
    return f"{origin}:{response.offset}" if response.member is None else f"{origin}:{response.member}+{response.offset}"
