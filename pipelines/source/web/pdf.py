"""The text of a PDF file, page by page, by pypdf (extra `pdf`)."""

import io
import logging
import re
from functools import partial
from importlib import metadata
from typing import NamedTuple

from pipelines.source.web.extraction.text import tidy

PDF_VERSION = 1
"""Part of the key of a source that reads PDF files. Raise it with any change of the text that a file gives."""
READER = "pypdf"
MAX_BYTES = 64 * 2**20
MAX_PAGES = 2000
MAX_CHARACTERS = 4_000_000
"""Limits on a file; one beyond them is passed over, as a part of a book would be read for the whole."""
ENCRYPTED, TOO_LARGE, UNREADABLE = "pdf_encrypted", "pdf_too_large", "pdf_unreadable"
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad]\n(?=(\w))")
_WRAPPED = re.compile(r"(?<=[\w,;])[ ]?\n(?=(\w))")
_PAGE_NUMBER = re.compile(r"^[ \t]*(?:[-–] ?)?\d{1,4}(?: ?[-–])?[ \t]*$\n?", re.MULTILINE)


class PdfText(NamedTuple):
    """The text of a file; or "" and a fault: ENCRYPTED, TOO_LARGE or UNREADABLE."""

    text: str
    fault: str = ""


def reader_versions() -> dict[str, int | str | None]:
    """The versions that decide which text a file gives: of this module, and of the installed READER, if any."""
    try:
        return {"version": PDF_VERSION, READER: metadata.version(READER)}
    except metadata.PackageNotFoundError:
        return {"version": PDF_VERSION, READER: None}


def pdf_text(body: bytes) -> PdfText:
    """The text of the PDF file `body`, its pages separated by empty lines, wrapped lines joined."""
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    if len(body) > MAX_BYTES:
        return PdfText("", TOO_LARGE)
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        if reader.is_encrypted:
            return PdfText("", ENCRYPTED)
        if len(reader.pages) > MAX_PAGES:
            return PdfText("", TOO_LARGE)
        pages, size = [], 0
        for page in reader.pages:
            pages.append(unwrap(page.extract_text()))
            size += len(pages[-1])
            if size > MAX_CHARACTERS:
                return PdfText("", TOO_LARGE)
    # pypdf raises errors of many types on files that are made to break it, RecursionError among them.
    except Exception:
        return PdfText("", UNREADABLE)
    # A character without a mapping to Unicode may be half of one.
    text = "\n\n".join(pages).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return PdfText(tidy(text))


def unwrap(page: str) -> str:
    """The text of a page with words and sentences joined over the ends of lines, and without page numbers.

    >>> unwrap("The ri-\\nver rose\\nat night.\\n12\\nThe End")
    'The river rose at night.\\nThe End'
    """
    whole = _HYPHENATED.sub(partial(_join, ""), _PAGE_NUMBER.sub("", page))
    return _WRAPPED.sub(partial(_join, " "), whole)


def _join(joint: str, match: re.Match[str]) -> str:
    """`joint` instead of the end of a line, if the next one continues in lower case."""
    return joint if match[1].islower() else match[0]
