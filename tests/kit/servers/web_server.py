"""A web server on loopback whose answers a test scripts: ranges, failures, broken and slow bodies."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.kit.servers.serving import serving

Respond = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class WebServer:
    """`files`: content by path. `script`: for each path the answers to the next requests instead of the file, each a
    function of the handler and the content. `tags`: ETags by path. `requests`: (path, Range header) as they came."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, list[Respond]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def ranges(self, path: str) -> list[str | None]:
        return [stated for asked, stated in self.requests if asked == path]


@contextmanager
def running_server() -> Iterator[WebServer]:
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
    with serving(server):
        try:
            yield made
        finally:
            made.closing.set()


def answer(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, object], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def whole_or_range(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """The answer of a sound server (RFC 9110, 14)."""
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
