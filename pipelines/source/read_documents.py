"""Reading documents and extracting text as library functions, without a recipe or a cluster."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pipelines.artifacts.documents import Document
from pipelines.source.document_sink import DocumentSink, Extractor, TextFormat
from pipelines.source.errors import InputError
from pipelines.source.io.local_files import FileType, stand_in
from pipelines.source.io.locations import LocatedFile, Names, find_files
from pipelines.source.tables.rows import BrokenFileError, MissingColumnError
from pipelines.source.tables.table_files import FILES, READERS, Tables, take_row, wanted_fields
from pipelines.source.text_files import TEXT_FILE, take_file
from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import extract_page
from pipelines.source.web.warc.responses import read_responses
from pipelines.source.web.warc_files import WARC, take_page

READABLE = FileType(
    "WARC, JSON Lines, Parquet or text file",
    (*WARC.suffixes, *FILES["jsonl"].suffixes, *FILES["parquet"].suffixes, *TEXT_FILE.suffixes),
)
OnUnreadable = Callable[[str, str], object]


def read_documents(
    path: Path | str,
    *,
    text_field: str = "text",
    url_field: str | None = None,
    extractor: Extractor = "cascade",
    text_format: TextFormat = "text",
    on_unreadable: OnUnreadable | None = None,
) -> Iterator[Document]:
    """Read the documents of WARC, WET, JSON Lines, Parquet, text and HTML files, one at a time, files by name.

    Args:
        path: A file, a folder (with all below it), a glob, or an address (`https://`, `s3://`, `gs://`, `hf://`).
        text_field: Field or column of JSON Lines and Parquet files that holds the text.
        url_field: Field or column that holds the URL. Default: the file's name and the row.
        extractor: How text is taken from HTML: "cascade", "main_content" or "all_text".
        text_format: Plain "text", or "markdown" with headings, lists, tables, code and formulas.
        on_unreadable: Called with the location of a record, or the name of a file, that cannot be read, and the
            reason. Default: a warning.

    Raises:
        InputError: There is no such file, a Parquet file has not these columns, or the name of a field is empty.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pipelines import read_documents
        >>> file = Path(tempfile.mkdtemp(), "notes.jsonl")
        >>> _ = file.write_text('{"text": "The river rose."}\\n{"text": ""}\\n')
        >>> [(document.text, document.url) for document in read_documents(file)]
        [('The river rose.', 'notes.jsonl#1')]
    """
    if not text_field or url_field == "":
        raise InputError(f"text_field = {text_field!r}, url_field = {url_field!r}: a field has a name. Name them.")
    for file in Names().give(find_files([str(path)], Path(), READABLE)):
        with tempfile.TemporaryDirectory(prefix="arctic-read-") as scratch:
            written: list[Document] = []
            sink = DocumentSink(Path(scratch), extractor, 0.0, _Collected(written), text_format)
            tables = Tables(kind=_table_kind(file), paths=[file.name], text_field=text_field, url_field=url_field)
            for _ in _records(file, file.fetch(file.fingerprint(), Path(scratch)), tables, sink):
                for record in sink.quarantined:
                    (on_unreadable or _warn)(record["origin"], record["reason"])
                yield from written
                sink.quarantined.clear()
                written.clear()


def extract(html: str | bytes, extractor: Extractor = "cascade", text_format: TextFormat = "text") -> str:
    """Take the text out of an HTML page, without navigation, advertisements and other boilerplate.

    Args:
        html: The page. Bytes are decoded by their byte order mark, meta tag or statistics.
        extractor: "cascade" for the main part of the page, "main_content" for resiliparse's, "all_text" for all that
            is visible.
        text_format: Plain "text", or "markdown" with headings, lists, tables, code and formulas.

    Raises:
        UndecodablePageError: No charset fits the bytes.

    Example:
        >>> from pipelines import extract
        >>> extract("<html><body><nav>Home</nav><p>The river rose in the night.</p></body></html>")
        'The river rose in the night.'
        >>> print(extract("<h2>Lamps</h2><ul><li>oil<li>gas</ul>", "all_text", "markdown"))
        ## Lamps
        <BLANKLINE>
        - oil
        - gas
    """
    return extract_page(decode(html, "text/html") if isinstance(html, bytes) else html, extractor, text_format).text


class _Collected:
    """Takes documents as a shard's file does."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def write(self, document: Document) -> int:
        size = len(document.text.encode())
        self._documents.append(document)
        return size


def _records(file: LocatedFile, path: Path, tables: Tables, sink: DocumentSink) -> Iterator[None]:
    """One step a record, which has then been written, skipped or quarantined."""
    if reason := stand_in(path):
        sink.quarantine(file.name, reason)
        yield
    elif WARC.fits(file.name):
        for response in read_responses(path):
            take_page(response, sink, file.name)
            yield
    elif TEXT_FILE.fits(file.name):
        take_file(path, sink, file.name)
        yield
    else:
        try:
            for row in READERS[tables.kind](path, wanted_fields(tables), None):
                take_row(row, tables, file.name, sink)
                yield
        except MissingColumnError as error:
            raise InputError(f"{file.name}: {error}. Name the fields with text_field and url_field.") from None
        except BrokenFileError as error:
            sink.quarantine(file.name, str(error))
            yield


def _table_kind(file: LocatedFile) -> Literal["jsonl", "parquet"]:
    return "parquet" if FILES["parquet"].fits(file.name) else "jsonl"


def _warn(origin: str, reason: str) -> None:
    warnings.warn(f"{origin}: {reason}", stacklevel=3)
