"""Windows on files, and the decoded content of their compressed members: gzip members and zstd frames.

Decoding is bounded by the requested size, so that a member of any size, or a bomb, costs no memory.
"""

import re
import zlib
from io import BytesIO
from typing import Protocol

from fastwarc.stream_io import GzipReader, ZstdReader

GZIP = b"\x1f\x8b\x08"
ZSTD = b"\x28\xb5\x2f\xfd"
READ_BYTES = 64 * 2**10
_PATTERN_BYTES = 16
"""Longer than anything that is searched for."""
_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL)
_GZIP_HEADER_BYTES = 10
_GZIP_WBITS = 31
_FAST_BYTES = 2**20
"""A member that is longer as stored is decoded step by step."""
_ZSTD_CHECKSUM = 0b100
ENDS_WITH_FILE = "it ends with the file"
_ZSTD_RLE, _ZSTD_RESERVED = 1, 3


class Reader(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes: ...


class Stream(Reader, Protocol):
    """The stream under a window."""

    def seek(self, offset: int, /) -> object: ...

    def seekable(self) -> bool: ...


class Window:
    """A window of a stream: memory holds the requested bytes that were not forgotten, and READ_BYTES more.

    In a stream that cannot seek, forgotten bytes are lost.
    """

    def __init__(self, stream: Stream) -> None:
        self.seekable = stream.seekable()
        self._stream = stream
        self._start = 0
        self._held = bytearray()

    def take(self, start: int, size: int) -> bytes:
        """The `size` bytes from `start` on, or fewer if the stream ends."""
        self.hold(start, size)
        with memoryview(self._held) as held:
            return bytes(held[start - self._start : start - self._start + size])

    def hold(self, start: int, size: int) -> int:
        """Read ahead, so that the `size` bytes from `start` on can be looked at in any order; returns how many there
        are."""
        if not self._start <= start <= self._start + len(self._held):
            self._move(start)
        missing = start + size - self._start - len(self._held)
        while missing > 0 and (piece := self._stream.read(max(missing, READ_BYTES))):
            self._held += piece
            missing -= len(piece)
        return max(0, min(size, self._start + len(self._held) - start))

    def forget(self, before: int) -> None:
        """Release the bytes before a position."""
        if self._start < before <= self._start + len(self._held):
            del self._held[: before - self._start]
            self._start = before

    def find(self, pattern: re.Pattern[bytes], start: int) -> int:
        """Offset of the first `pattern` from `start` on, or the end of the stream; forgets the bytes before it."""
        while (position := self.find_near(pattern, start, start + READ_BYTES)) is None:
            start += READ_BYTES - _PATTERN_BYTES
            self.forget(start)
        return position

    def find_near(self, pattern: re.Pattern[bytes], start: int, stop: int) -> int | None:
        """Offset of the first `pattern` from `start` on; the end of the stream if that comes first; None if neither is
        found before about `stop`."""
        while start < stop:
            self.hold(start, READ_BYTES)
            if match := pattern.search(self._held, start - self._start):
                return self._start + match.start()
            end = self._start + len(self._held)
            if end - start < READ_BYTES:
                return max(start, end)
            start = end - _PATTERN_BYTES
        return None

    def _move(self, start: int) -> None:
        """Begin to hold bytes at `start`, or at the end of a stream that ends before it."""
        if self.seekable:
            self._start = start
            self._stream.seek(start)
        elif start < self._start:
            raise ValueError(f"byte {start} of a stream that cannot seek is gone; {self._start} is held")
        else:
            self._start += len(self._held)
            while missing := start - self._start:
                piece = self._stream.read(min(missing, READ_BYTES))
                if not piece:
                    break
                self._start += len(piece)
        self._held.clear()


class GzipMember:
    """The decoded content of the gzip member stored from `start` on. If it is damaged, `read` ends early and `error`
    contains the reason. `end`: the end of the member, once it is read to its end."""

    def __init__(self, window: Window, start: int) -> None:
        self.error: str | None = None
        self._window = window
        self._at = start
        self._decoder = zlib.decompressobj(_GZIP_WBITS)
        self._pending = b""
        self._step = READ_BYTES
        self._holds_back = False

    @property
    def end(self) -> int:
        return self._at - len(self._pending) - len(self._decoder.unused_data)

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size and not self._decoder.eof and not self.error:
            if not self._pending and not self._holds_back:
                self._advance()
            content += self._decode(size - len(content))
        return bytes(content)

    def _decode(self, size: int) -> bytes:
        fed, before = self._pending[: self._step], self._decoder.copy()
        try:
            piece = self._decoder.decompress(fed, size)
        except zlib.error as error:
            # zlib does not return the bytes that it decoded before the damage: it is fed again in smaller steps.
            if self._step == 1:
                self.error = f"gzip member is damaged: {error}"
            self._decoder, self._step = before, max(1, self._step // 16)
            return b""
        tail = b"" if self._decoder.eof else self._decoder.unconsumed_tail
        self._pending = tail + self._pending[len(fed) :]
        # zlib may have taken all bytes in and not given all out.
        self._holds_back = len(piece) == size
        return piece

    def _advance(self) -> None:
        self._window.forget(self._at)
        self._pending = self._window.take(self._at, READ_BYTES)
        self._at += len(self._pending)
        if not self._pending:
            self.error = f"gzip member is damaged: {ENDS_WITH_FILE}"


class ZstdFrame:
    """As GzipMember, of a zstd frame (RFC 8878)."""

    def __init__(self, window: Window, start: int, dictionary: bytes | None) -> None:
        self.error: str | None = None
        self._blocks = _ZstdBlocks(window, start)
        self._decoder = ZstdReader(self._blocks, dictionary=dictionary)

    @property
    def end(self) -> int:
        return self._blocks.end

    def read(self, size: int) -> bytes:
        if self.error:
            return b""
        content, fault = read_up_to(self._decoder, size)
        if fault:
            self.error = f"zstd frame is damaged: {self._blocks.error or fault}"
        return content


def gunzip_whole(window: Window, start: int, limit: int) -> tuple[int, bytes] | None:
    """End and content of the gzip member stored from `start` on, at more than the speed of zlib; None if it is
    damaged, large, or not followed by another member or the end of the file, which GzipMember sorts out."""
    end = window.find_near(_GZIP_HEADER, start + _GZIP_HEADER_BYTES, start + _FAST_BYTES)
    content = None if end is None else gunzip(window.take(start, end - start), limit)
    return None if end is None or content is None else (end, content)


def unzstd_whole(window: Window, start: int, limit: int, dictionary: bytes | None) -> tuple[int, bytes] | None:
    """End and content of the zstd frame stored from `start` on; None if it is damaged or large, for ZstdFrame."""
    blocks = _ZstdBlocks(window, start)
    frame = blocks.read(_FAST_BYTES)
    if blocks.error or start + len(frame) < blocks.end:
        return None
    try:
        content = ZstdReader(BytesIO(frame), dictionary=dictionary).read(limit + 1)
    except OSError:
        return None
    return (blocks.end, content) if len(content) <= limit else None


def gunzip(member: bytes, limit: int) -> bytes | None:
    """The decoded content of a gzip member; None if it is damaged, more than one, or more than `limit` bytes."""
    size = int.from_bytes(member[-4:], "little")
    if size > limit:
        return None
    try:
        content = GzipReader(BytesIO(member)).read(size + 1)
    except OSError:
        return None
    return content if len(content) == size else None


def read_up_to(decoder: Reader, size: int) -> tuple[bytes, str | None]:
    """Up to `size` bytes, and the reason why there are no more if that is not a sound end."""
    content = bytearray()
    try:
        while len(content) < size and (piece := decoder.read(min(READ_BYTES, size - len(content)))):
            content += piece
    except (OSError, ValueError) as error:
        return bytes(content), str(error)
    return bytes(content), None


class _ZstdBlocks:
    """The stored bytes of one zstd frame as a file, which ends at the end of the frame: block by block, by the length
    in each block's header."""

    def __init__(self, window: Window, start: int) -> None:
        self.error: str | None = None
        self.end = start
        self._window = window
        self._at = start
        self._last = False
        descriptor = window.take(start, 5)[4:]
        self._has_checksum = bool(descriptor and descriptor[0] & _ZSTD_CHECKSUM)
        self.end += _frame_header_bytes(descriptor[0]) if descriptor else len(ZSTD)

    def read(self, size: int = READ_BYTES) -> bytes:
        while self.end - self._at < size and not self._last and not self.error:
            self._next_block()
        piece = self._window.take(self._at, min(size, self.end - self._at))
        if not piece and self._at < self.end:
            self.error = ENDS_WITH_FILE
        self._window.forget(self._at)
        self._at += len(piece)
        return piece

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError(f"a zstd frame is read forwards; asked for byte {offset} by {whence}")

    def close(self) -> None:
        """It holds no open resources."""

    def _next_block(self) -> None:
        header = self._window.take(self.end, 3)
        value = int.from_bytes(header, "little")
        kind, size = value >> 1 & 3, value >> 3
        if len(header) < 3:
            self.error = ENDS_WITH_FILE
        elif kind == _ZSTD_RESERVED:
            self.error = "no block where one should start"
        else:
            self._last = bool(value & 1)
            self.end += 3 + (1 if kind == _ZSTD_RLE else size) + 4 * (self._last and self._has_checksum)


def _frame_header_bytes(descriptor: int) -> int:
    """Length of a frame's magic and header by its descriptor byte (RFC 8878, 3.1.1.1)."""
    single_segment = descriptor >> 5 & 1
    size_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    return len(ZSTD) + 1 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
