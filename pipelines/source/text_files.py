"""Files that are one document each: plain text, Markdown, reStructuredText and saved HTML pages."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.sections.inputs import TextFilesInput
from pipelines.artifacts.documents import Document
from pipelines.source.document_sink import DocumentSink
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import FileType
from pipelines.source.io.locations import LocatedFile, read_file
from pipelines.source.protocol import InputSplit
from pipelines.source.web.charsets import UndecodablePageError, decode
from pipelines.source.web.extraction.extract import EXTRACTION_VERSION, extract_page
from pipelines.source.web.page_signals import licence, opt_out

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst")
TEXT_FILE = FileType("text file", (*TEXT_SUFFIXES, *HTML_SUFFIXES))
MAX_FILE_BYTES = 16 * 2**20
"""Larger files are set aside unread, as lines and WARC records of this size are."""
FILES_PER_SHARD = 256
"""Mean number of files in a shard."""


class TextFiles(TextFilesInput):
    """Text files and saved pages, several to a shard."""

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "extraction": EXTRACTION_VERSION}

    @property
    def file_type(self) -> FileType:
        return TEXT_FILE

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:
        return folder.fingerprint(folder.find(self.paths, TEXT_FILE))

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:
        """Groups of files by the hash of their names, so that a new file leaves the shards of all others alone until
        their number doubles."""
        files = list(folder.fingerprinted(self.paths, TEXT_FILE, fingerprint))
        num_groups = 1 << max(0, (len(files) - 1) // FILES_PER_SHARD).bit_length()
        groups: dict[int, list[tuple[LocatedFile, Any]]] = {}
        for file, content in files:
            groups.setdefault(_hash(file.name) % num_groups, []).append((file, content))
        for number in sorted(groups):
            contents = [[file.name, content] for file, content in groups[number]]
            yield InputSplit(TextFileGroup(tuple(groups[number])), contents)


@dataclass(frozen=True)
class TextFileGroup:
    """Files with the fingerprint of the content of each."""

    files: tuple[tuple[LocatedFile, Any], ...]

    def read(self, sink: DocumentSink) -> None:
        for file, content in self.files:
            read_file(file, content, sink, partial(take_file, sink=sink, origin=file.name))


def take_file(path: Path, sink: DocumentSink, origin: str) -> None:
    """Keep, skip or quarantine the file `path`, known as `origin`. Text is taken as it is, HTML is extracted."""
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        sink.quarantine(origin, f"file of {size} bytes, more than the {MAX_FILE_BYTES} that are read")
        return
    try:
        document = _document(path.read_bytes(), sink, origin)
    except (UndecodablePageError, OSError) as error:
        sink.quarantine(origin, str(error))
    # The exceptions of third-party parsers on a malicious page are not known beforehand.
    except Exception as error:
        sink.quarantine(origin, f"page cannot be read: {type(error).__name__}: {error}")
    else:
        if document.text and not document.text.isspace():
            sink.write(document)
        else:
            sink.skip("no_text")


def _document(body: bytes, sink: DocumentSink, origin: str) -> Document:
    is_html = origin.lower().endswith(HTML_SUFFIXES)
    content = decode(body, "", is_html=is_html)
    split = sink.draw_split(origin)
    if not is_html:
        return Document(text=content, url=origin, origin=origin, split=split)
    page = extract_page(content, sink.extractor, sink.text_format)
    return Document(
        text=page.text,
        url=origin,
        origin=origin,
        split=split,
        licence=licence(content),
        opt_out=opt_out({}, content),
        extractor=page.engine,
        attributes=json.dumps(page.telemetry()) if page.telemetry() else None,
    )


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big")
