"""A stored HTTP response as a document: is it a page, in which charset, what does it allow, what does it say."""

import json
import re
from dataclasses import dataclass

from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import Extractor
from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.text import tidy
from pipelines.source.web.media_types import media_type
from pipelines.source.web.page_signals import licence, opt_out
from pipelines.source.web.warc.responses import Response

HTML_TYPES = ("text/html", "application/xhtml+xml")
_LOOKS_LIKE_HTML = re.compile(rb"<\s*(!doctype\s+html|html|head|body|title|meta|div|p|script)\b", re.IGNORECASE)
_SNIFFED_BYTES = 2048


@dataclass(frozen=True)
class NotAPage:
    """A sound response that holds no text of ours: passed over and counted by `reason`."""

    reason: str


def page_document(
    response: Response, origin: str, extractor: Extractor, heldout_fraction: float
) -> Document | NotAPage:
    """The document that a response holds; `origin` is the WARC file's name. Raises charsets.UndecodablePageError.

    The text of a WET record is taken as it is. A record that shares its compressed member with others has the member's
    own offset in `attributes`, as a range of the file does not give it.
    """
    if not 200 <= response.status < 300:
        return NotAPage("http_status")
    converted = response.record_type == "conversion"
    if not converted and not _is_html(response):
        return NotAPage("not_html")
    content = decode(response.body, "charset=utf-8" if converted else _stated(response))
    text, engine = (tidy(content), "wet") if converted else extract(content, extractor)
    if not text:
        return NotAPage("no_text")
    return Document(
        text=text,
        url=response.url,
        origin=origin,
        split=draw_split(response.url, heldout_fraction),
        offset=response.offset,
        length=response.length,
        date=response.date,
        licence=None if converted else licence(content),
        opt_out=None if converted else opt_out(response.headers, content),
        extractor=engine,
        attributes=None if response.member is None else json.dumps({"member_offset": response.member}),
    )


def _is_html(response: Response) -> bool:
    declared = media_type(response.headers.get("content-type", "")).essence
    if declared:
        return declared in HTML_TYPES
    return _LOOKS_LIKE_HTML.search(response.body[:_SNIFFED_BYTES]) is not None


def _stated(response: Response) -> str:
    """What the header says of the charset: of several types that of the one which counts."""
    declared = response.headers.get("content-type", "")
    charset = media_type(declared).charset if "," in declared else ""
    return f"charset={charset}" if charset else declared
