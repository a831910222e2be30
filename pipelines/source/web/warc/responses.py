"""Pages and texts of WARC files (ISO 28500): HTTP responses, stored resources, and the plain text of WET files."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from fastwarc import GzipWriter, WarcRecord, WarcRecordType

from pipelines.source.io.blocks import FilePart
from pipelines.source.web.warc.arc import cut_arc_records, is_arc
from pipelines.source.web.warc.http import decode_body, digest_differs, is_http, parse_http
from pipelines.source.web.warc.lz4 import cut_lz4_records, is_lz4
from pipelines.source.web.warc.records import Damage, Record, cut_records

__all__ = ["MAX_RECORD_BYTES", "SUFFIXES", "Damage", "Response", "read_record", "read_responses", "write_responses"]

MAX_RECORD_BYTES = 16 * 2**20
"""Larger records are set aside unread. Common Crawl itself cuts payloads at 5 MiB (1 MiB before 2025)."""
RECORD_TYPES = frozenset(
    {"warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation"}
)
"""All types of ISO 28500. Another one is more likely a damaged record than an extension."""
NO_TEXTS = ("application/", "audio/", "font/", "image/", "model/", "multipart/", "video/")
"""Types of conversions that are passed over. Any other one is more likely a damaged "text/plain" than a text in another
format."""
SPLITTABLE = tuple(f".{kind}{packing}" for kind in ("warc", "wet") for packing in ("", ".gz", ".zst"))
"""Names of WARC and WET files whose records can be located from any position in them; `.warc.wet.gz` is one of them."""
SUFFIXES = (*SPLITTABLE, ".warc.lz4", ".wet.lz4", ".arc", ".arc.gz")
"""Names of all files that are read."""


@dataclass(frozen=True)
class Response:
    """One stored HTTP response, or an equivalent record. `offset`, `length`, `member`: location of its record, as in
    Record; `body` is decoded from its transfer and content encodings; `headers` have lower-case names, repeated ones
    joined by ", "; `record_type`: "response", "resource", or "conversion" for a text of a WET file."""

    offset: int
    length: int
    url: str
    date: str | None
    status: int
    headers: Mapping[str, str]
    body: bytes
    member: int | None = None
    record_type: str = "response"


def read_responses(
    path: Path, max_record_bytes: int = MAX_RECORD_BYTES, part: FilePart | None = None
) -> Iterator[Response | Damage]:
    """Every response of a WARC file, plain or compressed by gzip, zstd or LZ4, or of an ARC file, plain or compressed
    by gzip, in order; other records are passed over. `part`: only those that begin there, if the file is SPLITTABLE.

    Damage is reported and costs only the damaged records. Memory depends on `max_record_bytes`, not on the file.
    """
    with path.open("rb") as file:
        for record in _cut(file, max_record_bytes, part):
            yield from _responses(record, max_record_bytes)


def _cut(file: BinaryIO, limit: int, part: FilePart | None) -> Iterator[Record | Damage]:
    if part is not None:
        return cut_records(file, limit, part.start, part.stop)
    if is_arc(file):
        return cut_arc_records(file, limit)
    return cut_lz4_records(file, limit) if is_lz4(file) else cut_records(file, limit)


def read_record(content: bytes, offset: int) -> Iterator[Response | Damage]:
    """As `read_responses`, of one record with its compression, stored at `offset` of a file."""
    for record in cut_records(BytesIO(content), MAX_RECORD_BYTES):
        for result in _responses(record, MAX_RECORD_BYTES):
            if result.member is None:
                yield replace(result, offset=result.offset + offset)
            else:
                yield replace(result, member=result.member + offset)


def write_responses(pages: Iterable[tuple[str, bytes]], path: Path, date: str) -> None:
    """Write (url, HTML in UTF-8) pages as WARC response records, a gzip member each: the same bytes each time."""
    with path.open("wb") as file:
        for url, html in pages:
            record, writer = WarcRecord(), GzipWriter(file)
            digest = hashlib.sha256(url.encode() + b"\n" + html).digest()
            record.init_headers(WarcRecordType.response, record_urn=uuid.UUID(bytes=digest[:16]).urn.encode())
            record.headers["WARC-Target-URI"] = url
            record.headers["WARC-Date"] = date
            record.headers["Content-Type"] = "application/http; msgtype=response"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(html)}\r\n\r\n"
            record.set_bytes_content(head.encode() + html)
            record.write(writer)
            writer.finish()


def _responses(record: Record | Damage, limit: int) -> Iterator[Response | Damage]:
    if isinstance(record, Damage):
        yield record
        return
    try:
        response = _response(record, limit)
    except ValueError as error:
        yield Damage(record.offset, str(error), record.member)
        return
    if response:
        yield response


def _response(record: Record, limit: int) -> Response | None:
    """None if the record is of another kind. Raises ValueError if it is damaged."""
    headers, block = record.headers, record.block
    kind, content_type = headers.get("warc-type", "").lower(), headers.get("content-type", "").lower()
    match kind:
        case "":
            raise ValueError("no WARC-Type")
        case "response" if content_type.startswith("application/http") or not content_type or is_http(block):
            status, http_headers, stored = parse_http(block)
        case "resource" | "conversion" if kind == "resource" or content_type.startswith("text/plain"):
            status, http_headers, stored = 200, {"content-type": content_type}, block
        case "conversion" if not content_type.startswith(NO_TEXTS):
            raise ValueError(f"conversion of Content-Type {content_type!r}")
        case _ if kind in RECORD_TYPES:
            return None
        case _:
            raise ValueError(f"unknown WARC-Type {kind!r}")
    url = headers.get("warc-target-uri")
    if url is None:
        raise ValueError("no WARC-Target-URI")
    cut = "warc-truncated" in headers
    body = decode_body(http_headers, stored, limit, cut)
    _require_digests(headers, block, (stored, body), cut)
    date = headers.get("warc-date")
    return Response(
        record.offset, record.length, url.strip("<>"), date, status, http_headers, body, record.member, kind
    )


def _require_digests(headers: Mapping[str, str], block: bytes, payloads: tuple[bytes, ...], cut: bool) -> None:
    """Raise ValueError if the record does not match its digests. The block's digest covers everything; the payload's is
    checked only if there is no other: writers differ in whether they take it before or after decoding, or of a body
    that they cut."""
    if "warc-block-digest" in headers:
        if digest_differs(headers["warc-block-digest"], block):
            raise ValueError("record differs from its WARC-Block-Digest")
    elif not cut and digest_differs(headers.get("warc-payload-digest"), *payloads):
        raise ValueError("payload differs from its WARC-Payload-Digest")
