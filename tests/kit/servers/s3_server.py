"""A local S3 (moto), behind a proxy that fails on purpose.

moto keeps objects in memory and honours If-None-Match and If-Match on PUT, ranges, multipart uploads and listings. It
lacks checks of signatures and permissions (the proxy answers 403), throttling (the proxy answers 503), and late
listings (the proxy hides new objects).
"""

import http.client
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from tests.kit.servers.serving import serving

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-a-test"}


@dataclass
class Faults:
    """The proxy's reaction instead of passing a request on. `dropped`: share of requests whose connection breaks, every
    second one after the server did as asked; `refusals`: status and body of the next answers; `delay_s`: before each
    answer; `listing_delay_s`: time until a new object appears in listings, as in stores that list eventually."""

    dropped: float = 0.0
    refusals: list[tuple[int, str]] = field(default_factory=list)
    delay_s: float = 0.0
    listing_delay_s: float = 0.0
    seed: int = 1
    num_dropped: int = 0
    num_requests: int = 0

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()
        self._made: dict[str, float] = {}

    def draw(self) -> str:
        """ "drop" before or "lose" after the work, or "" to pass the request on."""
        with self._lock:
            self.num_requests += 1
            if self._random.random() >= self.dropped:
                return ""
            self.num_dropped += 1
            return "lose" if self.num_dropped % 2 else "drop"

    def made(self, path: str) -> None:
        self._made.setdefault(unquote(urlsplit(path).path), time.monotonic())

    def listed(self, path: str, content: bytes) -> bytes:
        """The answer to a request for a listing, without the objects that are too new for it."""
        listing = ElementTree.fromstring(content)
        space = listing.tag.removesuffix("ListBucketResult")
        bucket, since = urlsplit(path).path.rstrip("/"), time.monotonic() - self.listing_delay_s
        for entry in listing.findall(f"{space}Contents"):
            if self._made.get(f"{bucket}/{unquote(entry.findtext(f'{space}Key', ''))}", 0.0) > since:
                listing.remove(entry)
        return ElementTree.tostring(listing)


@dataclass
class S3:
    """A running server. `port`: of the proxy; `backend`: of moto itself, which never fails."""

    port: int
    backend: int
    faults: Faults

    def address(self, prefix: str = "runs", bucket: str = BUCKET) -> str:
        """Of a prefix in a bucket, as a run reaches it."""
        return _address(self.port, prefix, bucket)

    def quiet_address(self, prefix: str) -> str:
        """The same prefix of the server's bucket, without the proxy."""
        return _address(self.backend, prefix, BUCKET)


def _address(port: int, prefix: str, bucket: str) -> str:
    return f"s3://{bucket}/{prefix}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


@contextmanager
def running_s3() -> Iterator[S3]:
    """A server with one empty bucket, until the block ends."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    _request(port, "POST", "/moto-api/reset")
    _request(port, "PUT", f"/{BUCKET}")
    proxy: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.daemon_threads, proxy.backend, proxy.faults = True, port, Faults()
    try:
        with serving(proxy):
            yield S3(proxy.server_port, port, proxy.faults)
    finally:
        moto.stop()


def _request(port: int, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path)
    assert connection.getresponse().status == 200
    connection.close()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults: Faults = self.server.faults
        time.sleep(faults.delay_s)
        fate = faults.draw()
        if fate == "drop":
            self._break()
            return
        if faults.refusals:
            status, text = faults.refusals.pop(0)
            self._answer(status, {}, text.encode())
            return
        backend = http.client.HTTPConnection("127.0.0.1", self.server.backend)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        backend.request(self.command, self.path, body, headers)
        response = backend.getresponse()
        content = response.read()
        backend.close()
        if self.command == "PUT" and response.status == 200:
            faults.made(self.path)
        if faults.listing_delay_s and "list-type=2" in self.path:
            content = faults.listed(self.path, content)
        if fate == "lose":
            self._break()
            return
        self._answer(response.status, dict(response.getheaders()), content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), len(content))
        self.send_header("Content-Length", str(length if self.command == "HEAD" else len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""
