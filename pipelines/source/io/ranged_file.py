"""A file behind a URL, of which only the asked ranges are fetched."""

import io
from functools import cached_property

from pipelines.source.io import http_client


class RangedFile(io.RawIOBase):
    """Raises HttpError if the server does not return the requested bytes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._place = 0

    @cached_property
    def size_bytes(self) -> int:
        """Size of the whole file, asked for once."""
        return http_client.CLIENT.version(self._url).size_bytes or 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size_bytes}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size_bytes - self._place)
        length = left if size < 0 else min(size, left)
        content = http_client.CLIENT.read(self._url, self._place, length) if length else b""
        self._place += len(content)
        return content
