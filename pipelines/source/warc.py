"""HTTP responses of WARC files (ISO 28500), read so that a damaged record costs itself and nothing else."""

import hashlib
import mmap
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from fastwarc import ArchiveIterator, GzipWriter, WarcRecord, WarcRecordType

MAX_RECORD_BYTES = 16 * 2**20
"""Larger records are set aside unread. Common Crawl itself cuts payloads at 5 MiB (1 MiB before 2025)."""
SUFFIXES = (".warc", ".warc.gz")
_GZIP = b"\x1f\x8b\x08"
_PLAIN = b"WARC/1."
_MAX_HEADER_BYTES = 32 * 2**10
_READ_BYTES = 64 * 2**10


@dataclass(frozen=True)
class Response:
    """One stored HTTP response. `offset`, `length`: bytes of its record in the file, as stored; `body` is decoded
    from its transfer and content encodings; `headers` have lower-case names, repeated ones joined by ", "."""

    offset: int
    length: int
    url: str
    date: str | None
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Damage:
    """A record, or a stretch of the file, that could not be read."""

    offset: int
    reason: str


def read_responses(path: Path) -> Iterator[Response | Damage]:
    """Every HTTP response of a WARC file, plain or gzipped by record, in order; other record types are passed over.

    Where bytes make no sense, reading goes on at the next place at which a whole record starts. Memory depends on the
    largest record, not on the file.
    """
    size = path.stat().st_size
    if size == 0:
        yield Damage(0, "empty file")
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start, searching = 0, False
        while start < size:
            try:
                end, content = _unpack(data, start)
            except ValueError as error:
                if not searching:
                    yield Damage(start, str(error))
                start, searching = _find_record(data, start + 1), True
                continue
            yield from _parse(start, end, content)
            start, searching = end, False


def write_responses(pages: Iterable[tuple[str, bytes]], path: Path, date: str) -> None:
    """Write (url, HTML in UTF-8) pages as gzipped WARC response records; the same pages give the same bytes."""
    with path.open("wb") as file:
        writer = GzipWriter(file)
        for url, html in pages:
            record = WarcRecord()
            digest = hashlib.sha256(url.encode() + b"\n" + html).digest()
            record.init_headers(WarcRecordType.response, record_urn=uuid.UUID(bytes=digest[:16]).urn.encode())
            record.headers["WARC-Target-URI"] = url
            record.headers["WARC-Date"] = date
            record.headers["Content-Type"] = "application/http; msgtype=response"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(html)}\r\n\r\n"
            record.set_bytes_content(head.encode() + html)
            record.write(writer)
        writer.finish()


def _unpack(data: mmap.mmap, start: int) -> tuple[int, bytes]:
    """End and content of the record stored from `start` on; one byte more than allowed of one that is too large.

    Each record is taken apart from the file before it is parsed, so that one whose length is wrong cannot swallow the
    next. Raises ValueError where no whole record starts.
    """
    data.seek(start)
    magic = data[start : start + len(_PLAIN)]
    if magic == _PLAIN:
        return _unpack_plain(data, start)
    if not magic.startswith(_GZIP):
        raise ValueError("no WARC record starts here")
    member, content = zlib.decompressobj(wbits=31), bytearray()
    pending = b""
    while not member.eof:
        pending = pending or data.read(_READ_BYTES)
        if not pending:
            raise ValueError("gzipped record ends with the file")
        try:
            piece = member.decompress(pending, MAX_RECORD_BYTES)
        except zlib.error as error:
            raise ValueError(f"gzipped record is damaged: {error}") from None
        content += piece[: MAX_RECORD_BYTES + 1 - len(content)]
        pending = member.unconsumed_tail
    return data.tell() - len(member.unused_data), bytes(content)


def _unpack_plain(data: mmap.mmap, start: int) -> tuple[int, bytes]:
    head, blank_line, _ = data.read(_MAX_HEADER_BYTES).partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length:[ \t]*(\d{1,18})", head)
    if not blank_line or not length:
        raise ValueError("WARC header without end or without Content-Length")
    end = start + len(head) + len(blank_line) + int(length[1]) + len(b"\r\n\r\n")
    if end > len(data):
        raise ValueError(f"record of {length[1].decode()} bytes ends with the file")
    return end, data[start : min(end, start + MAX_RECORD_BYTES + 1)]


def _parse(start: int, end: int, content: bytes) -> Iterator[Response | Damage]:
    """What a stored record holds: nothing where it is sound and no HTTP response."""
    if len(content) > MAX_RECORD_BYTES:
        yield Damage(start, f"record of more than the {MAX_RECORD_BYTES} bytes that are read")
        return
    try:
        records = [(record, record.freeze()) for record in ArchiveIterator(BytesIO(content), parse_http=False)]
        if not records:
            raise ValueError("no WARC record inside")
        for record, _ in records:
            if record.record_type == WarcRecordType.response:
                yield _response(record, start, end)
    except (OSError, ValueError) as error:
        yield Damage(start, str(error))


def _response(record: WarcRecord, start: int, end: int) -> Response:
    """Raises ValueError, or OSError from decoding, where the record is no whole HTTP response."""
    stated = int(record.headers.get("Content-Length") or 0)
    if record.content_length < stated:
        raise ValueError(f"record ends after {record.content_length} of {stated} bytes")
    record.is_http = True
    record.parse_http(auto_decode="all")
    body = record.reader.read(MAX_RECORD_BYTES + 1)
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"body decodes to more than the {MAX_RECORD_BYTES} bytes that are read")
    status, url = record.http_headers.status_code, record.headers.get("WARC-Target-URI")
    if status is None:
        raise ValueError("no HTTP status line")
    if url is None:
        raise ValueError("no WARC-Target-URI")
    date = record.headers.get("WARC-Date")
    return Response(start, end - start, url.strip("<>"), date, status, _headers(record), body)


def _headers(record: WarcRecord) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in record.http_headers.to_tuples():
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return headers


def _find_record(data: mmap.mmap, start: int) -> int:
    """The next place from `start` on that looks like the start of a record, or the end of the file."""
    found = [place for magic in (_GZIP, _PLAIN) if (place := data.find(magic, start)) >= 0]
    return min(found, default=len(data))
