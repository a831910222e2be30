"""A small object store that speaks to the clients of S3, Google Cloud Storage (its XML form) and Azure Blob Storage."""

import hashlib
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape

from tests.kit.servers.serving import serving

LAST_MODIFIED = {"xml": "2024-12-01T00:00:00.000Z", "http": "Sun, 01 Dec 2024 00:00:00 GMT"}


@contextmanager
def running_object_store(options: str = "") -> Iterator[Any]:
    """A server with `objects`, content by "bucket/name", and the `options` that lead an address there."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _ObjectStore)
    server.daemon_threads, server.objects = True, {}
    server.options = f"?endpoint_override=127.0.0.1:{server.server_port}&scheme=http{options}"
    with serving(server):
        yield server


def etag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:8]}"'


class _ObjectStore(BaseHTTPRequestHandler):
    """Head, get with ranges and If-Match, and list with a delimiter."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(address.path).strip("/"), dict(urllib.parse.parse_qsl(address.query))
        listed = query.get("prefix", ""), query.get("delimiter")
        if "list-type" in query:
            self._answer(200, self._s3_listing(path, *listed))
        elif query.get("comp") == "list":
            self._answer(200, self._azure_listing(path, *listed))
        elif path in self.server.objects:
            self._answer(*self._object(self.server.objects[path]))
        else:
            self._answer(404, b"")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _object(self, content: bytes) -> tuple[int, bytes, dict[str, str]]:
        etag = etag_of(content)
        headers = {"Last-Modified": LAST_MODIFIED["http"], "ETag": etag, "x-ms-blob-type": "BlockBlob"}
        if self.headers.get("If-Match", etag) != etag:
            return 412, b"", {}
        if not self.headers["Range"]:
            return 200, content, headers
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1]
        return 206, piece, headers | {"Content-Range": f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"}

    def _level(self, bucket: str, prefix: str, delimiter: str | None) -> tuple[list[tuple[str, bytes]], list[str]]:
        """Objects of a level, and the folders below it."""
        keys = [
            path.removeprefix(f"{bucket}/") for path in sorted(self.server.objects) if path.startswith(f"{bucket}/")
        ]
        keys = [key for key in keys if key.startswith(prefix)]
        deep = {key for key in keys if delimiter and delimiter in key[len(prefix) :]}
        folders = sorted({prefix + key[len(prefix) :].partition("/")[0] + "/" for key in deep})
        return [(key, self.server.objects[f"{bucket}/{key}"]) for key in keys if key not in deep], folders

    def _s3_listing(self, bucket: str, prefix: str, delimiter: str | None) -> bytes:
        objects, folders = self._level(bucket, prefix, delimiter)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>{escape(etag_of(content))}</ETag>"
            f"<LastModified>{LAST_MODIFIED['xml']}</LastModified></Contents>"
            for key, content in objects
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        body = f"<KeyCount>{len(rows)}</KeyCount><IsTruncated>false</IsTruncated>{''.join(rows)}"
        return f"<?xml version='1.0'?><ListBucketResult>{body}</ListBucketResult>".encode()

    def _azure_listing(self, bucket: str, prefix: str, delimiter: str | None) -> bytes:
        objects, folders = self._level(bucket, prefix, delimiter)
        rows = [
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{LAST_MODIFIED['http']}</Last-Modified>"
            f"<Etag>{escape(etag_of(content))}</Etag><Content-Length>{len(content)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            for key, content in objects
        ]
        rows += [f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>" for folder in folders]
        body = f"<Blobs>{''.join(rows)}</Blobs><NextMarker/>"
        return f"<?xml version='1.0'?><EnumerationResults>{body}</EnumerationResults>".encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
