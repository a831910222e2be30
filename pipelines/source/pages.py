"""A stored HTTP response as a document: is it a page, in which charset, what does it allow, what does it say."""

import json
import re
from dataclasses import dataclass

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.extract import Extractor, extract
from pipelines.source.warc import Response

HTML_TYPES = ("text/html", "application/xhtml+xml")
OPT_OUT_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy")
"""Response headers by which a site refuses indexing, training or text and data mining (W3C TDM Reservation)."""
MAX_UNREADABLE_FRACTION = 0.01
"""Share of replacement and control characters above which a decoded body is no text."""
_LOOKS_LIKE_HTML = re.compile(rb"<\s*(!doctype\s+html|html|head|body|title|meta|div|p|script)\b", re.IGNORECASE)
_SNIFFED_BYTES = 2048
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffd]")


@dataclass(frozen=True)
class NotAPage:
    """A sound response that holds no text of ours: passed over and counted by `reason`."""

    reason: str


class UndecodableError(ValueError):
    """A body that claims to be HTML and is not text in any charset."""


def page_document(
    response: Response, origin: str, extractor: Extractor, heldout_fraction: float
) -> Document | NotAPage:
    """The document that a response holds; `origin` is the WARC file's name. Raises UndecodableError."""
    if not 200 <= response.status < 300:
        return NotAPage("http_status")
    if not _is_html(response):
        return NotAPage("not_html")
    text, engine = extract(decode(response), extractor)
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
        opt_out=opt_out(response),
        extractor=engine,
    )


def decode(response: Response) -> str:
    """The body as text, in the charset of its byte order mark, `Content-Type` header, meta tag or statistics, whichever
    comes first. Raises UndecodableError."""
    stated = re.search(r"charset=[\"']?([\w.:-]+)", response.headers.get("content-type", ""), re.IGNORECASE)
    charset = map_encoding_to_html5(stated[1], fallback_utf8=False) if stated else None
    charset = charset or detect_encoding(response.body, from_html_meta=True) or "utf-8"
    html = bytes_to_str(response.body, charset, errors="replace")
    unreadable = len(_UNREADABLE.findall(html))
    if unreadable > MAX_UNREADABLE_FRACTION * len(html):
        raise UndecodableError(f"undecodable text: {unreadable} of {len(html)} characters are not text in {charset}")
    return html


def opt_out(response: Response) -> str | None:
    """The response's opt-out headers as JSON, or None where it has none."""
    found = {name: response.headers[name] for name in OPT_OUT_HEADERS if name in response.headers}
    return json.dumps(found, sort_keys=True, ensure_ascii=False) if found else None


def _is_html(response: Response) -> bool:
    stated = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if stated:
        return stated in HTML_TYPES
    return _LOOKS_LIKE_HTML.search(response.body[:_SNIFFED_BYTES]) is not None
