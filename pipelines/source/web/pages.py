"""A stored HTTP response as a document: whether it is a page, its charset, its permissions, and its text."""

import json
import re
from dataclasses import dataclass, field

from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import Extractor, TextFormat
from pipelines.source.web.charsets import decode
from pipelines.source.web.extraction.extract import Extraction, extract_page
from pipelines.source.web.extraction.text import tidy
from pipelines.source.web.media_types import media_type
from pipelines.source.web.page_signals import licence, opt_out
from pipelines.source.web.pdf import pdf_text
from pipelines.source.web.warc.responses import Response

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain", "text/markdown", "text/x-markdown", "text/x-rst", "text/x-web-markdown")
"""Types of which the body is the text."""
_FOR_MACHINES = re.compile(
    r"(?:robots|ads|app-ads|sellers|security|humans|sitemap[\w-]*|urllist)\.txt$|^(?!https?:|ftp:)", re.IGNORECASE
)
"""Addresses of text that a site writes for programs, or a crawler for itself (wget's log)."""
_KINDS = (
    ("pdf", re.compile(r"\bpdf$")),
    ("json", re.compile(r"[/+](?:x-)?(?:ld\+)?(?:nd)?json$")),
    ("xml", re.compile(r"[/+](?:xml|rss|atom)$")),
    ("script", re.compile(r"(?:java|ecma)script$|/css$")),
    ("image", re.compile(r"^image/")),
    ("sound_or_video", re.compile(r"^(?:audio|video)/")),
    ("text", re.compile(r"^text/")),
)
_LOOKS_LIKE_PAGE = re.compile(rb"^\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_LOOKS_LIKE_HTML = re.compile(rb"<\s*(!doctype\s+html|html|head|body|title|meta|div|p|script)\b", re.IGNORECASE)
_SNIFFED_BYTES = 2048


@dataclass(frozen=True)
class NotAPage:
    """A sound response that holds no text of ours: passed over and counted by `reason`, and by `kind` if it is not
    HTML: "pdf", "json", "xml", "script", "image", "sound_or_video", "text" or "other"."""

    reason: str
    kind: str = field(default="", compare=False)


def page_document(
    response: Response,
    origin: str,
    extractor: Extractor,
    heldout_fraction: float,
    text_format: TextFormat = "text",
    read_pdf: bool = False,
) -> Document | NotAPage:
    """The document that a response holds; `origin` is the WARC file's name. Raises charsets.UndecodablePageError.

    The text of a WET record is taken as it is. A record that shares its compressed member with others has the member's
    own offset in `attributes`, as a range of the file does not give it.
    """
    if not 200 <= response.status < 300:
        return NotAPage("http_status")
    converted = response.record_type == "conversion"
    is_text = not converted and _is_text(response)
    if read_pdf and not converted and _is_pdf(response):
        return _pdf_document(response, origin, heldout_fraction)
    is_html = not converted and not is_text
    if is_html and not _is_html(response):
        return NotAPage("not_html", _kind(response))
    content = decode(response.body, "charset=utf-8" if converted else _stated(response), is_html=is_html)
    if not is_html:
        page = Extraction(tidy(content), "wet" if converted else "none", "", None)
    else:
        page = extract_page(content, extractor, text_format)
    if not page.text:
        return NotAPage("no_text")
    opted_out = None if converted else opt_out(response.headers, content if is_html else "")
    return _document(response, origin, heldout_fraction, page, opted_out, licence(content) if is_html else None)


def _pdf_document(response: Response, origin: str, heldout_fraction: float) -> Document | NotAPage:
    found = pdf_text(response.body)
    if not found.text:
        return NotAPage(found.fault or "no_text")
    page = Extraction(found.text, "pdf", "", None)
    return _document(response, origin, heldout_fraction, page, opt_out(response.headers, ""))


def _document(
    response: Response,
    origin: str,
    heldout_fraction: float,
    page: Extraction,
    opted_out: str | None,
    stated_licence: str | None = None,
) -> Document:
    return Document(
        text=page.text,
        url=response.url,
        origin=origin,
        split=draw_split(response.url, heldout_fraction),
        offset=response.offset,
        length=response.length,
        date=response.date,
        licence=stated_licence,
        opt_out=opted_out,
        extractor=page.engine,
        attributes=_attributes(page, response.member),
    )


def _attributes(page: Extraction, member: int | None) -> str | None:
    """JSON of the extracted share of the page, if its text was chosen, and of the location of its record."""
    attributes = page.telemetry()
    if member is not None:
        attributes["member_offset"] = member
    return json.dumps(attributes) if attributes else None


def _is_pdf(response: Response) -> bool:
    declared = media_type(response.headers.get("content-type", "")).essence
    return declared.endswith("/pdf") or (not declared and response.body.startswith(b"%PDF-"))


def _is_html(response: Response) -> bool:
    declared = media_type(response.headers.get("content-type", "")).essence
    if declared in TEXT_TYPES:
        return _LOOKS_LIKE_PAGE.search(response.body[:_SNIFFED_BYTES]) is not None
    if declared:
        return declared in HTML_TYPES
    return _LOOKS_LIKE_HTML.search(response.body[:_SNIFFED_BYTES]) is not None


def _is_text(response: Response) -> bool:
    """Whether the body is a text for people to read, and neither a page that is declared as text nor a file for
    programs."""
    declared = media_type(response.headers.get("content-type", "")).essence
    if declared not in TEXT_TYPES or _FOR_MACHINES.search(response.url.partition("?")[0]):
        return False
    return _LOOKS_LIKE_PAGE.search(response.body[:_SNIFFED_BYTES]) is None


def _kind(response: Response) -> str:
    """The kind of a response that is neither page nor text, by its declared type or else its first bytes."""
    declared = media_type(response.headers.get("content-type", "")).essence
    if not declared:
        return "pdf" if response.body.startswith(b"%PDF-") else "other"
    return next((kind for kind, pattern in _KINDS if pattern.search(declared)), "other")


def _stated(response: Response) -> str:
    """The charset of the header: of several types that of the one which counts."""
    declared = response.headers.get("content-type", "")
    charset = media_type(declared).charset if "," in declared else ""
    return f"charset={charset}" if charset else declared
