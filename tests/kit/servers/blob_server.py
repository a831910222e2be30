"""Google Cloud Storage (its XML interface) and Azure Blob Storage in memory: what obstore asks of them.

Written after the documentation of the two interfaces. A conditional write names a generation on the one and an ETag on
the other; large objects come in parts or in blocks. Signatures and permissions are not checked.
"""

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.kit.servers.serving import serving

BUCKET = "bucket"
AZURE_CREDENTIALS = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5IG9mIGEgdGVzdA=="}


@dataclass(frozen=True)
class Blob:
    content: bytes
    generation: int

    @property
    def etag(self) -> str:
        return f'"etag-{self.generation}"'

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": self.etag, "x-goog-generation": str(self.generation), "Last-Modified": formatdate(usegmt=True)}


@dataclass
class Blobs:
    """The objects of one bucket by name, and the parts of uploads that have not ended."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    parts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def put(self, name: str, content: bytes) -> Blob:
        self.blobs[name] = Blob(content, next(self.numbers))
        return self.blobs[name]

    def listed(self, prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
        """Names below a prefix, and the folders that stand for names with a delimiter behind it."""
        names, folders = [], set()
        for name in sorted(self.blobs):
            if name.startswith(prefix):
                head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
                (folders.add(prefix + head + mark) if mark else names.append(name))
        return names, sorted(folders)


@contextmanager
def running_gs(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A bucket of Google's until the block ends: its address, and the environment with the credentials."""
    with _running(_Google) as port:
        account = {"type": "service_account", "disable_oauth": True, "gcs_base_url": f"http://127.0.0.1:{port}"}
        file = folder / "account.json"
        file.write_text(json.dumps(account | dict.fromkeys(("client_email", "private_key", "private_key_id"), "")))
        yield f"gs://{BUCKET}/runs?scheme=http", {"GOOGLE_SERVICE_ACCOUNT": str(file)}


@contextmanager
def running_az(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A container of Azure's until the block ends: its address, and the environment with the credentials."""
    with _running(_Azure) as port:
        yield f"az://{BUCKET}/runs?endpoint_override=127.0.0.1:{port}&scheme=http", AZURE_CREDENTIALS


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.blobs = True, Blobs()
    with serving(server):
        yield server.server_port


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def _work(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        bucket, _, self.name = unquote(url.path).lstrip("/").partition("/")
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.blobs: Blobs = self.server.blobs
        with self.blobs.lock:
            if bucket != BUCKET:
                return self.answer(HTTPStatus.NOT_FOUND)
            return getattr(self, self.command.lower())()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _work

    def get(self) -> None:
        if not self.name:
            listed = self.blobs.listed(self.query.get("prefix", ""), self.query.get("delimiter", ""))
            return self.answer(HTTPStatus.OK, self.listing(*listed).encode())
        blob = self.blobs.blobs.get(self.name)
        if blob is None:
            return self.answer(HTTPStatus.NOT_FOUND)
        if self.headers.get("If-Match", blob.etag) != blob.etag:
            return self.answer(HTTPStatus.PRECONDITION_FAILED)
        return self.answer(HTTPStatus.OK, blob.content, blob.headers)

    head = get

    def delete(self) -> None:
        gone = self.blobs.blobs.pop(self.name, None)
        self.answer(HTTPStatus.NO_CONTENT if gone else HTTPStatus.NOT_FOUND)

    def listing(self, names: list[str], folders: list[str]) -> str:
        raise NotImplementedError

    def stored(self, content: bytes, status: HTTPStatus) -> None:
        self.answer(status, b"", self.blobs.put(self.name, content).headers)

    def copied(self, source: str) -> None:
        blob = self.blobs.blobs.get(unquote(source).partition(f"{BUCKET}/")[2])
        self.stored(blob.content, HTTPStatus.OK) if blob else self.answer(HTTPStatus.NOT_FOUND)

    def answer(self, status: HTTPStatus, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class _Google(_Service):
    def put(self) -> None:
        if "uploadId" in self.query:
            self.blobs.parts[self.query["uploadId"], self.query["partNumber"]] = self.body
            return self.answer(HTTPStatus.OK, b"", {"ETag": f'"{self.query["partNumber"]}"'})
        if source := self.headers.get("x-goog-copy-source"):
            return self.copied(source)
        expected = self.headers.get("x-goog-if-generation-match")
        before = self.blobs.blobs.get(self.name)
        if expected is not None and int(expected) != (before.generation if before else 0):
            return self.answer(HTTPStatus.PRECONDITION_FAILED)
        return self.stored(self.body, HTTPStatus.OK)

    def post(self) -> None:
        if "uploads" in self.query:
            number = next(self.blobs.numbers)
            text = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            return self.answer(HTTPStatus.OK, text.encode())
        numbers = [part.findtext("PartNumber", "") for part in ElementTree.fromstring(self.body).iter("Part")]
        blob = self.blobs.put(self.name, b"".join(self.blobs.parts[self.query["uploadId"], each] for each in numbers))
        text = f"<CompleteMultipartUploadResult><ETag>{blob.etag}</ETag></CompleteMultipartUploadResult>"
        return self.answer(HTTPStatus.OK, text.encode(), blob.headers)

    def listing(self, names: list[str], folders: list[str]) -> str:
        entries = [(name, self.blobs.blobs[name]) for name in names]
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(blob.content)}</Size><ETag>{blob.etag}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, blob in entries
        )
        below = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        return f"<ListBucketResult>{contents}{below}</ListBucketResult>"


class _Azure(_Service):
    def put(self) -> None:
        match self.query.get("comp"):
            case "block":
                self.blobs.parts[self.name, self.query["blockid"]] = self.body
                return self.answer(HTTPStatus.CREATED)
            case "blocklist":
                blocks = [block.text or "" for block in ElementTree.fromstring(self.body)]
                content = b"".join(self.blobs.parts[self.name, block] for block in blocks)
                return self.stored(content, HTTPStatus.CREATED)
        if source := self.headers.get("x-ms-copy-source"):
            return self.copied(source)
        before = self.blobs.blobs.get(self.name)
        if self.headers.get("If-None-Match") == "*" and before:
            return self.answer(HTTPStatus.CONFLICT)
        if "If-Match" in self.headers and (before is None or self.headers["If-Match"] != before.etag):
            return self.answer(HTTPStatus.PRECONDITION_FAILED)
        return self.stored(self.body, HTTPStatus.CREATED)

    def post(self) -> None:
        """A batch: each part asks to delete one blob."""
        border = self.headers["Content-Type"].partition("boundary=")[2].strip('"')
        answers = []
        for number, path in enumerate(re.findall(rb"^DELETE (\S+) HTTP", self.body, re.MULTILINE)):
            gone = self.blobs.blobs.pop(unquote(path.decode()).partition(f"{BUCKET}/")[2], None)
            status = "202 Accepted" if gone else "404 The specified blob does not exist."
            head = f"--{border}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            answers.append(f"{head}HTTP/1.1 {status}\r\nx-ms-version: 2023-11-03\r\n\r\n")
        text = "".join(answers) + f"--{border}--\r\n"
        self.answer(HTTPStatus.ACCEPTED, text.encode(), {"Content-Type": f"multipart/mixed; boundary={border}"})

    def listing(self, names: list[str], folders: list[str]) -> str:
        entries = [(name, self.blobs.blobs[name]) for name in names]
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{formatdate(usegmt=True)}</Last-Modified>"
            f"<Etag>{blob.etag}</Etag><Content-Length>{len(blob.content)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for name, blob in entries
        )
        below = "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
        return f"<EnumerationResults><Blobs>{blobs}{below}</Blobs><NextMarker/></EnumerationResults>"
