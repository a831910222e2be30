"""The HTTP responses that WARC records store: status, headers, and the body free of its encodings."""

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Any

from fastwarc.stream_io import BrotliReader, ZstdReader

from pipelines.source.io.members import GZIP, ZSTD, GzipMember, Window, gunzip, read_up_to
from pipelines.source.web.warc.records import parse_fields

RESPONSES_VERSION = 3
"""Raised if other responses are found in a record, or others of their bytes."""
_STATUS = re.compile(rb"HTTP/\d(?:\.\d+)?[ \t]+(\d{3})(?!\d)")
"""Also "HTTP/2 200", as crawlers write that speak HTTP/2, in which there is no such line."""
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,1024})?\r?\n")
_CONTROLS = bytes([*range(9), *range(14, 32), 127])
_SNIFFED_BYTES = 512
_MAX_CODINGS = 4
_DIGESTS: Mapping[str, Callable[..., Any]] = {
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "md5": partial(hashlib.md5, usedforsecurity=False),
}
_BASE32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv")
"""From the digits of RFC 4648 to those of Python's `int`."""


def is_http(block: bytes) -> bool:
    """Whether a block begins as a response does. A record of a page may have a damaged Content-Type."""
    return bool(_STATUS.match(block))


def parse_http(block: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and body as stored, of the response behind all interim ones (RFC 9110, 15.2).
    Raises ValueError."""
    status, blank_line = _head(block, 0)
    while status[1].startswith(b"1") and blank_line and _STATUS.match(block, blank_line.end()):
        status, blank_line = _head(block, blank_line.end())
    end, body = (blank_line.start(), block[blank_line.end() :]) if blank_line else (len(block), b"")
    return int(status[1]), parse_fields(block[status.end() : end].partition(b"\n")[2]), body


def _head(block: bytes, begin: int) -> tuple[re.Match[bytes], re.Match[bytes] | None]:
    """The status line at `begin`, and the blank line that ends its headers."""
    status = _STATUS.match(block, begin)
    if not status:
        raise ValueError("no HTTP status line")
    return status, _BLANK_LINE.search(block, begin)


def decode_body(headers: Mapping[str, str], body: bytes, limit: int, cut: bool) -> bytes:
    """`body` without its transfer and content encodings, of which servers and crawlers state some that are not there
    and keep silent about others. `cut`: the record states that its body is incomplete, so a partial decode is enough.

    Raises ValueError if it is damaged or decodes to more than `limit` bytes.
    """
    transfer = _codings(headers.get("transfer-encoding", ""))
    if "chunked" in transfer:
        body = _dechunk(body, cut)
    codings = [*_codings(headers.get("content-encoding", "")), *(coding for coding in transfer if coding != "chunked")]
    for coding in reversed(codings[:_MAX_CODINGS]):
        body = _decode(coding, body, limit, cut)
    # Text that starts like gzip was encoded once more than was stated.
    if headers.get("content-type", "").startswith("text/"):
        body = _decode("gzip", body, limit, cut)
    return body


def digest_differs(digest: str | None, *contents: bytes) -> bool:
    """Whether a WARC digest field, such as "sha1:" and base32 or hex, is that of none of `contents`.

    A field that is missing or of an unknown kind is no evidence.
    """
    name, _, value = (digest or "").partition(":")
    algorithm = _DIGESTS.get(name.strip().lower().replace("-", ""))
    expected = _digest_number(value.strip().rstrip("="), algorithm().digest_size) if algorithm else None
    if algorithm is None or expected is None:
        return False
    return all(int.from_bytes(algorithm(content).digest()) != expected for content in contents)


def _digest_number(value: str, size: int) -> int | None:
    """A digest of `size` bytes written in hex or base32, by its length, as a number; None for other text."""
    try:
        if len(value) == 2 * size:
            return int(value, 16)
        if len(value) == -(-8 * size // 5):
            return int(value.upper().translate(_BASE32), 32) >> 5 * len(value) - 8 * size
    except ValueError:
        return None
    return None


def _codings(field: str) -> list[str]:
    return [coding.strip().lower() for coding in field.split(",")]


def _decode(coding: str, body: bytes, limit: int, cut: bool) -> bytes:
    match coding:
        case "gzip" | "x-gzip" if body.startswith(GZIP):
            content, fault = _gunzip(body, limit)
        case "zstd" if body.startswith(ZSTD):
            content, fault = read_up_to(ZstdReader(BytesIO(body)), limit + 1)
        case "deflate":
            content, fault = _inflate(body, limit)
        case "br":
            content, fault = read_up_to(BrotliReader(BytesIO(body)), limit + 1)
        case _:
            return body
    if len(content) > limit:
        raise ValueError(f"body decodes to more than the {limit} bytes that are read")
    if not fault or (cut and content):
        return content
    # deflate and brotli have no magic that shows beforehand whether they are used.
    if coding in ("deflate", "br") and _is_text(body):
        return body
    raise ValueError(f"body is not in its encoding {coding}: {fault}")


def _gunzip(body: bytes, limit: int) -> tuple[bytes, str | None]:
    """All members, without any bytes behind the last."""
    whole = gunzip(body, limit)
    if whole is not None:
        return whole, None
    content, at, error = b"", 0, None
    while body.startswith(GZIP, at) and len(content) <= limit and not error:
        member = GzipMember(Window(BytesIO(body)), at)
        content += member.read(limit + 1 - len(content))
        at, error = member.end, member.error
    return content, error


def _inflate(body: bytes, limit: int) -> tuple[bytes, str | None]:
    """With zlib's header as the standard wants it (RFC 9110, 8.4.1.2), or without as some servers send it."""
    content, fault = b"", None
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        decoder = zlib.decompressobj(wbits)
        try:
            content, fault = decoder.decompress(body, limit + 1), None
        except zlib.error as error:
            fault = str(error)
            continue
        if not decoder.eof and len(content) <= limit:
            fault = "it ends early"
        break
    return content, fault


def _dechunk(body: bytes, cut: bool) -> bytes:
    """`body` without the frames of chunked transfer (RFC 9112, 7.1); unchanged if it does not start with one."""
    if not _CHUNK.match(body):
        return body
    chunks, at = [], 0
    while frame := _CHUNK.match(body, at):
        size = int(frame[1], 16)
        chunk = body[frame.end() : frame.end() + size]
        chunks.append(chunk)
        if len(chunk) < size and not cut:
            raise ValueError(f"body ends {size - len(chunk)} bytes before its last chunk does")
        at = frame.end() + size
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
        if not size:
            break
    else:
        if at < len(body) and not cut:
            raise ValueError("body has no chunk where one should start")
    return b"".join(chunks)


def _is_text(body: bytes) -> bool:
    head = body[:_SNIFFED_BYTES]
    return len(head.translate(None, _CONTROLS)) == len(head)
