"""Bytes over HTTP from unreliable servers: bounded, retried, resumed, and checked against the announced length."""

import email.utils
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar

import urllib3
from urllib3 import exceptions

from arctic_errors import ArcticError
from infra.host.masking import masked
from infra.host.surroundings import without_credentials
from infra.host.web import connections, proxy_of

Answer = TypeVar("Answer")
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""Answers after which the same request may succeed (RFC 9110, 15.5 and 15.6; RFC 6585, 4; RFC 8470, 5.2)."""
READ_BYTES = 64 * 2**10
# The first that fits: some of these are kinds of a later one.
_FAILURES: Mapping[type[Exception], str] = {
    exceptions.NameResolutionError: "the host's name is unknown",
    exceptions.NewConnectionError: "no connection",
    exceptions.ConnectTimeoutError: "no connection in time",
    exceptions.ReadTimeoutError: "the server fell silent",
    exceptions.SSLError: "TLS failed",
    exceptions.ProtocolError: "the connection broke",
}


class HttpError(ArcticError, OSError):
    """The bytes cannot be downloaded: refused for good, or still failing after the last attempt."""

    def __init__(self, reason: str) -> None:
        super().__init__(masked(reason))


class ChangedError(ArcticError, RuntimeError):
    """The server has other bytes under a URL than those that were pinned."""

    def __init__(self, reason: str) -> None:
        super().__init__(masked(reason))


class _TransientError(ArcticError):
    """One attempt failed; another may not. `retry_after_s`: the wait that the server asked for."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Version:
    """Properties that distinguish one content of a URL from another.

    `validator`: its ETag, else its Last-Modified, else ""; `size_bytes`: its whole size, None if it is not stated.
    """

    validator: str
    size_bytes: int | None


@dataclass(frozen=True)
class HttpClient:
    """GET with patience.

    An attempt ends after `attempt_deadline_s` even if its body still arrives; the next one resumes at its end. The
    waits between attempts double from `first_wait_s` to `max_wait_s` and are at least the value of `Retry-After`; a
    server that asks for more than `max_retry_after_s` has refused. `sleep`, `clock` and `now` are the world's time.
    """

    attempts: int = 8
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 60.0
    attempt_deadline_s: float = 600.0
    first_wait_s: float = 1.0
    max_wait_s: float = 60.0
    max_retry_after_s: float = 900.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time

    def version(self, url: str) -> Version:
        """The version under `url` now, from the answer to a request for its first byte. Raises HttpError."""

        def attempt() -> Version:
            with self._open(url, {"Range": "bytes=0-0"}) as response:
                return _version(response)

        return self._persist(url, attempt)

    def download(self, url: str, path: Path, pinned: Version | None = None) -> Version:
        """Write the whole content of `url` to `path`. Raises HttpError, and ChangedError if it is not `pinned`."""
        with path.open("wb") as file:
            resume: dict[str, str] = {}
            return self._persist(url, lambda: self._continue(url, file, pinned, resume))

    def read(self, url: str, start: int, length: int) -> bytes:
        """The `length` bytes of `url` from `start` on. Raises HttpError."""

        def attempt() -> bytes:
            with self._open(url, {"Range": f"bytes={start}-{start + length - 1}"}) as response:
                if response.status != 206 or _range_start(response) != start:
                    raise HttpError(f"{url}: the server does not answer ranges (status {response.status})")
                content = b"".join(self._pieces(response, length))
            if len(content) != length:
                raise _TransientError(f"the range has {len(content)} bytes and not {length}")
            return content

        return self._persist(url, attempt)

    def _persist(self, url: str, attempt: Callable[[], Answer]) -> Answer:
        for number in range(self.attempts):
            try:
                return attempt()
            except _TransientError as error:
                reason, asked_s = str(error), error.retry_after_s
            except exceptions.HTTPError as error:
                reason, asked_s = _failure(url, error), 0.0
            if asked_s > self.max_retry_after_s:
                raise HttpError(f"{url}: {reason}, and asks to wait {asked_s:.0f} s")
            if number < self.attempts - 1:
                self.sleep(max(min(self.first_wait_s * 2**number, self.max_wait_s), asked_s))
        raise HttpError(f"{url}: {reason}, at the last of {self.attempts} attempts")

    def _continue(self, url: str, file: BinaryIO, pinned: Version | None, resume: dict[str, str]) -> Version:
        """Append the missing bytes of `url` to `file`. `resume`: the headers that hold the server to the same
        content."""
        start = file.tell() if resume else 0
        with self._open(url, {"Range": f"bytes={start}-", **resume} if start else {}) as response:
            if response.status == 416 or (response.status == 206 and _range_start(response) != start):
                resume.clear()
                raise _TransientError(f"the server does not go on at byte {start}")
            if response.status == 200:
                file.seek(0)
                file.truncate()
            fresh = _version(response)
            _require_pinned(url, fresh, pinned)
            resume.update(_same_content(response))
            for piece in self._pieces(response, None if fresh.size_bytes is None else fresh.size_bytes - file.tell()):
                file.write(piece)
        if fresh.size_bytes is not None and file.tell() != fresh.size_bytes:
            raise _TransientError(f"the body ends after {file.tell()} of {fresh.size_bytes} bytes")
        return fresh

    @contextmanager
    def _open(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer before its body. The connection is reused for the next request if the body is read to its end."""
        response = self._pool(url).request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity", **headers},
            preload_content=False,
            enforce_content_length=False,
        )
        try:
            if response.status in TRANSIENT_STATUSES:
                raise _TransientError(f"status {response.status}", self._retry_after_s(response))
            if response.status not in (200, 206, 416):
                raise HttpError(f"{url}: status {response.status}")
            yield response
        finally:
            response.close()

    def _pieces(self, response: urllib3.BaseHTTPResponse, length: int | None) -> Iterator[bytes]:
        """The body in pieces, up to `length` bytes, or to its end if that is None."""
        end = self.clock() + self.attempt_deadline_s
        received = 0
        while received != length and (piece := response.read1(READ_BYTES, decode_content=False)):
            yield piece
            received += len(piece)
            if self.clock() > end and received != length:
                raise _TransientError(f"the body takes more than {self.attempt_deadline_s:g} s")

    def _retry_after_s(self, response: urllib3.BaseHTTPResponse) -> float:
        """The wait that an answer asks for, in seconds or until a date (RFC 9110, 10.2.3)."""
        header = response.headers.get("Retry-After", "").strip()
        if header.isdecimal():
            return float(header)
        try:
            until = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - self.now())

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_of(url)
        if proxy not in self._pools:
            self._pools[proxy] = connections(
                proxy,
                timeout=urllib3.Timeout(connect=self.connect_timeout_s, read=self.read_timeout_s),
                retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
            )
        return self._pools[proxy]

    @cached_property
    def _pools(self) -> dict[str | None, urllib3.PoolManager]:
        """By the proxy that they go through."""
        return {}


CLIENT = HttpClient()
"""For reading: two minutes of patience save a file."""
PLANNING_CLIENT = HttpClient(attempts=3, connect_timeout_s=10.0)
"""For planning: the user waits for the answer."""


def _version(response: urllib3.BaseHTTPResponse) -> Version:
    tag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    validator = f"etag {tag}" if tag else f"modified {modified}" if modified else ""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return Version(validator, int(length) if length.isdecimal() else None)
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return Version(validator, int(total) if total.isdecimal() else None)


def _same_content(response: urllib3.BaseHTTPResponse) -> dict[str, str]:
    """The header that asks for a range only of the content that this answer belongs to (RFC 9110, 13.1.5)."""
    tag, modified = response.headers.get("ETag", "W/"), response.headers.get("Last-Modified")
    if not tag.startswith("W/"):
        return {"If-Range": tag}
    return {"If-Range": modified} if modified else {}


def _range_start(response: urllib3.BaseHTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _require_pinned(url: str, version: Version, pinned: Version | None) -> None:
    """Raise ChangedError if the content is another, and _TransientError if only its size is stated wrongly."""
    if pinned is None or version == pinned:
        return
    if version.validator == pinned.validator != "":
        raise _TransientError(f"the server states {version.size_bytes} bytes instead of {pinned.size_bytes}")
    raise ChangedError(f"{url}: changed since the run was planned. Start the run again.")


def _failure(url: str, error: exceptions.HTTPError) -> str:
    """The error in words that are the same each time. Raises HttpError if another attempt cannot help."""
    cause = error.reason if isinstance(error, exceptions.MaxRetryError) and error.reason else error
    if isinstance(cause, exceptions.LocationValueError | exceptions.ResponseError):
        raise HttpError(f"{url}: {cause}")
    if isinstance(cause, exceptions.ProxyError):
        return f"no connection through the proxy {without_credentials(proxy_of(url) or '')}"
    return next((words for kind, words in _FAILURES.items() if isinstance(cause, kind)), type(cause).__name__)
