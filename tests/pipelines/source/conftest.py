"""WARC files written by hand, independent of the library that reads them; and a web server on loopback whose answers a
test scripts: ranges, failures, broken and slow bodies."""

import gzip
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import zstandard

from pipelines.source.io import http_client
from pipelines.source.io.http_client import HttpClient
from pipelines.source.web.warc.responses import Damage, Response, read_responses

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


@pytest.fixture(scope="session")
def warc() -> SimpleNamespace:
    """Builders of WARC bytes: html, http, record, pack by name, crawl."""
    return SimpleNamespace(html=html, http=http, record=record, pack=PACK, crawl=crawl)


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[list[Response], list[Damage]]]:
    """`read(data, **limits)`: what the reader finds in the bytes of a file, responses and damages."""
    path = tmp_path_factory.mktemp("warc") / "crawl.warc"

    def read(data: bytes, **limits: int) -> tuple[list[Response], list[Damage]]:
        path.write_bytes(data)
        found = list(read_responses(path, **limits))
        return [x for x in found if isinstance(x, Response)], [x for x in found if isinstance(x, Damage)]

    return read


Respond = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class WebServer:
    """`files`: content by path. `script`: for each path what the next requests get instead of the file, each a function
    of the handler and the content. `tags`: ETags by path. `requests`: (path, Range header) as they came."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, list[Respond]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def ranges(self, path: str) -> list[str | None]:
        return [stated for asked, stated in self.requests if asked == path]


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A running server without files."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            made.connections += 1

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            made.requests.append((path, self.headers["Range"]))
            if path not in made.files:
                status(404)(self, b"")
            elif made.script.get(path):
                made.script[path].pop(0)(self, made.files[path])
            else:
                whole_or_range(self, made.files[path])

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *request: object) -> None:
            """Clients that leave before the end are part of the tests."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(*request)

    server = Server(("127.0.0.1", 0), Handler)
    made = WebServer(f"http://127.0.0.1:{server.server_port}")
    server.made = made
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, object], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def whole_or_range(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """What a sound server answers (RFC 9110, 14)."""
    answer(handler, *_sound(handler, content))


def status(code: int, **headers: object) -> Respond:
    """An empty answer; `Retry_After=3` becomes the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: answer(handler, code, {**named, "Content-Length": 0}, b"")


def truncated(length: int) -> Respond:
    """The right headers, then only `length` bytes of the body."""

    def respond(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        code, headers, body = _sound(handler, content)
        answer(handler, code, headers, body[:length])
        handler.close_connection = True

    return respond


def stating(**headers: object) -> Respond:
    """The sound answer with other headers: `Content_Length=5`."""

    def respond(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        code, sound, body = _sound(handler, content)
        answer(handler, code, {**sound, **{name.replace("_", "-"): value for name, value in headers.items()}}, body)
        handler.close_connection = True

    return respond


def ignoring_ranges(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, 200, {"Content-Length": len(content)}, content)


def silent(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """The headers and the first byte, then nothing while the test runs."""
    code, headers, body = _sound(handler, content)
    answer(handler, code, headers, body[:1])
    handler.server.made.closing.wait()


def _sound(handler: BaseHTTPRequestHandler, content: bytes) -> tuple[int, dict[str, object], bytes]:
    tag = handler.server.made.tags.get(handler.path, '"one"')
    headers: dict[str, object] = {"ETag": tag, "Content-Length": len(content)}
    stated = handler.headers["Range"]
    if not stated or handler.headers.get("If-Range", tag) != tag:
        return 200, headers, content
    first, _, last = stated.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(content)), len(content) - 1)
    if start >= len(content):
        return 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0}, b""
    piece = content[start : end + 1]
    return 206, {**headers, "Content-Length": len(piece), "Content-Range": f"bytes {start}-{end}/{len(content)}"}, piece


@pytest.fixture(scope="session")
def respond() -> SimpleNamespace:
    """The ways to answer: status, truncated, stating, ignoring_ranges, silent."""
    return SimpleNamespace(
        status=status, truncated=truncated, stating=stating, ignoring_ranges=ignoring_ranges, silent=silent
    )


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that reading and planning would have waited; none are."""
    waited: list[float] = []
    for name in ("CLIENT", "PLANNING_CLIENT"):
        monkeypatch.setattr(http_client, name, HttpClient(attempts=4, sleep=waited.append))
    return waited
