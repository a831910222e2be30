"""WARC files written by hand, independent of the library that reads them."""

import gzip
from collections.abc import Callable, Mapping

import zstandard

PARAGRAPH = "The river rose in the night and the people of the town went to the bridge to see it with their lamps. "


def html(number: int) -> bytes:
    text = f"<p>{PARAGRAPH * 3}</p><p>This is page {number} of {number * number}.</p>"
    return f"<html><head><title>Page {number}</title></head><body>{text}</body></html>".encode()


def http(body: bytes, content_type: str | None = "text/html; charset=utf-8", headers: tuple[str, ...] = ()) -> bytes:
    stated = (f"Content-Type: {content_type}",) if content_type else ()
    return "\r\n".join(("HTTP/1.1 200 OK", *stated, *headers)).encode() + b"\r\n\r\n" + body


def record(
    block: bytes,
    url: str = "http://example.org/",
    kind: str = "response",
    content_type: str = "application/http; msgtype=response",
    fields: tuple[str, ...] = (),
) -> bytes:
    head = (
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {url}",
        "WARC-Date: 2020-02-02T00:00:00Z",
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>",
        f"Content-Type: {content_type}",
        *fields,
        f"Content-Length: {len(block)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


PACK: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": lambda stored: gzip.compress(stored, mtime=0),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
"""How one record is stored."""


def crawl(num_pages: int, packing: str = "gzip") -> list[bytes]:
    """Stored records: one that describes the file, then `num_pages` pages."""
    pages = [record(http(html(n)), f"http://example.org/{n}") for n in range(num_pages)]
    return [PACK[packing](each) for each in (record(b"software: test\r\n", kind="warcinfo"), *pages)]
