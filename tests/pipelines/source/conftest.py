"""WARC files written by hand, independent of the library that reads them."""

import gzip
from types import SimpleNamespace

import pytest

PARAGRAPH = "The river rose in the night and the people of the town went to the bridge to see it with their lamps. "


def html(number: int) -> bytes:
    text = f"<p>{PARAGRAPH * 3}</p><p>This is page {number} of {number * number}.</p>"
    return f"<html><head><title>Page {number}</title></head><body>{text}</body></html>".encode()


def http(body: bytes, content_type: str | None = "text/html; charset=utf-8", headers: tuple[str, ...] = ()) -> bytes:
    stated = (f"Content-Type: {content_type}",) if content_type else ()
    return "\r\n".join(("HTTP/1.1 200 OK", *stated, *headers)).encode() + b"\r\n\r\n" + body


def record(block: bytes, url: str = "http://example.org/", kind: str = "response") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2020-02-02T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def crawl(num_pages: int) -> list[bytes]:
    """Gzipped records: one that describes the file, then `num_pages` pages."""
    pages = [record(http(html(n)), f"http://example.org/{n}") for n in range(num_pages)]
    return [gzip.compress(each, mtime=0) for each in (record(b"software: test\r\n", kind="warcinfo"), *pages)]


@pytest.fixture(scope="session")
def warc() -> SimpleNamespace:
    """Builders of WARC bytes: html, http, record, crawl."""
    return SimpleNamespace(html=html, http=http, record=record, crawl=crawl)
