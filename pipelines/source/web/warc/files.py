"""Crawled pages from WARC files: which files, and what each record gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.inputs import WarcInput
from pipelines.source.io.local_files import FileType
from pipelines.source.io.locations import PlacedFile, pinned_files, read_file
from pipelines.source.reading import Reading
from pipelines.source.web.pages import NotAPage, page_document
from pipelines.source.web.warc.responses import SUFFIXES, Damage, Response, read_responses

WARC = FileType("WARC file", SUFFIXES)


@dataclass(frozen=True)
class WarcFile:
    """A WARC file with what fixes its content."""

    file: PlacedFile
    pinned: Any

    def read(self, reading: Reading) -> None:
        read_file(self.file, self.pinned, reading, partial(read_pages, reading=reading, origin=self.file.name))


def file_type(item: WarcInput) -> FileType:  # noqa: ARG001 - of one kind
    """What the files of an input are."""
    return WARC


def check(item: WarcInput, files: Sequence[PlacedFile]) -> None:
    """Nothing is known of a WARC file before it is read."""


def parts(item: WarcInput, pinned: Mapping[str, Any], folder: Path) -> Iterator[WarcFile]:
    """One shard a file, by name."""
    for file, pin_of_file in pinned_files(item.paths, folder, WARC, pinned["files"]):
        yield WarcFile(file, pin_of_file)


def read_pages(path: Path, reading: Reading, origin: str | None = None) -> None:
    """Take the documents of every response in the WARC file `path`, known as `origin` where that is not its name."""
    for response in read_responses(path):
        take_page(response, reading, origin or path.name)


def take_page(response: Response | Damage, reading: Reading, origin: str) -> None:
    """Keep, skip or quarantine one record of the WARC file that is known as `origin`."""
    if isinstance(response, Damage):
        reading.quarantine(_place(response, origin), response.reason)
        return
    try:
        page = page_document(response, origin, reading.extractor, reading.heldout_fraction)
    except ValueError as error:
        reading.quarantine(_place(response, origin), str(error))
        return
    # What the parsers of others raise on a page made to break them is not known beforehand.
    except Exception as error:
        reading.quarantine(_place(response, origin), f"page cannot be read: {type(error).__name__}: {error}")
        return
    if isinstance(page, NotAPage):
        reading.skip(page.reason)
    else:
        reading.keep(page)


def _place(found: Response | Damage, origin: str) -> str:
    """Where a record is: at an offset of the file, or inside the compressed member that starts at one."""
    return f"{origin}:{found.offset}" if found.member is None else f"{origin}:{found.member}+{found.offset}"
