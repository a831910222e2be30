"""The bytes of a file that is plain or compressed, which its first bytes show: names are wrong now and then."""

import bz2
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from arctic_errors import ArcticError
from pipelines.source.io.members import ENDS_WITH_FILE, READ_BYTES, GzipMember, Window, ZstdFrame
from pipelines.source.tables.foreign_formats import HEAD_BYTES, foreign_format

_PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
}
"""How a file starts: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2; a block of bzip2, or the end of an empty file."""
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_SKIPPABLE_HEADER_BYTES = 8
_NOT_ZERO = re.compile(rb"[^\0]")
_UNPACKED_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[\[{<]|\Z)")
_PACKED_NAMES = (".gz", ".zst", ".bz2")
_WIDE_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks, the longer ones first."""


class PackingError(ArcticError, ValueError):
    """A compressed file is damaged or ends early: the reason."""


class ForeignFormatError(PackingError):
    """A file is whole, and of another format: which, and the remedy."""


def is_packed(path: Path) -> bool:
    """Whether a file's first bytes are those of a compressed one. Raises OSError."""
    with path.open("rb") as file:
        return _packing(file.read(HEAD_BYTES)) is not None


def unpacked_blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    """The content of the JSON Lines file at `path`, in blocks of at most `block_bytes`.

    Raises PackingError behind the last block that can be read of a damaged file, ForeignFormatError before the first.
    """
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
        file.seek(0)
        if start in _WIDE_MARKS:
            return
        _require_text(path, start)
        packing = _packing(start)
        try:
            plain = iter(partial(file.read, block_bytes), b"")
            blocks = _members(Window(file), packing, block_bytes) if packing else plain
            first = next(blocks, b"")
            if fault := foreign_format(first, "JSON Lines", packing or ""):
                raise ForeignFormatError(fault)
            yield first
            yield from blocks
        except OSError as error:
            raise PackingError(str(error).partition("\n")[0]) from None


def _packing(start: bytes) -> str | None:
    return next((name for name, magic in _PACKINGS.items() if magic.match(start)), None)


def _members(window: Window, packing: str, block_bytes: int) -> Iterator[bytes]:
    """The content of gzip members, zstd frames or bzip2 streams one after the other, up to the first byte that cannot
    be decoded. Zeros behind one are padding, as in Python's `gzip`."""
    at = 0
    while start := window.take(at, HEAD_BYTES):
        if not _PACKINGS[packing].match(start):
            raise PackingError(f"byte {at} is in no {packing} stream, and others end before it")
        if _SKIPPABLE.match(start):
            at += _SKIPPABLE_HEADER_BYTES + int.from_bytes(start[4:_SKIPPABLE_HEADER_BYTES], "little")
            if not window.take(at - 1, 1):
                raise PackingError(f"skippable zstd frame is damaged: {ENDS_WITH_FILE}")
        else:
            member = _member(window, packing, at)
            while block := member.read(block_bytes):
                yield block
            if member.error:
                raise PackingError(member.error)
            at = member.end
        at = window.find(_NOT_ZERO, at)


def _member(window: Window, packing: str, start: int) -> "GzipMember | ZstdFrame | _Bzip2Stream":
    if packing == "zstd":
        return ZstdFrame(window, start, None)
    return GzipMember(window, start) if packing == "gzip" else _Bzip2Stream(window, start)


class _Bzip2Stream:
    """As GzipMember, of a stream of bzip2."""

    def __init__(self, window: Window, start: int) -> None:
        self.error: str | None = None
        self._window = window
        self._start = start
        self._step = READ_BYTES
        self._begin()

    @property
    def end(self) -> int:
        return self._at - len(self._decoder.unused_data)

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size and not self._decoder.eof and not self.error:
            try:
                content += self._decode(size - len(content))
            except OSError as error:
                if self._step == 1:
                    self.error = f"bzip2 stream is damaged: {error}"
                else:
                    self._feed_again()
        return bytes(content)

    def _begin(self) -> None:
        self._decoder = bz2.BZ2Decompressor()
        self._at = self._fed_from = self._start
        self._num_out = 0

    def _decode(self, size: int) -> bytes:
        fed = b""
        if self._decoder.needs_input:
            self._window.forget(self._at)
            fed = self._window.take(self._at, self._step)
            self._fed_from, self._num_out = self._at, 0
            self._at += len(fed)
            if not fed:
                self.error = f"bzip2 stream is damaged: {ENDS_WITH_FILE}"
        piece = self._decoder.decompress(fed, size)
        self._num_out += len(piece)
        return piece

    def _feed_again(self) -> None:
        """Read on byte by byte from the bytes that were fed last: bz2 does not return the content that it decoded
        before the damage in them, and its state cannot be copied."""
        stop, num_out = self._fed_from, self._num_out
        self._begin()
        while self._at < stop or not self._decoder.needs_input:
            self._decode(READ_BYTES)
        self._step = 1
        while num_out:
            num_out -= len(self._decode(num_out))


def _require_text(path: Path, start: bytes) -> None:
    """Raise PackingError if the first bytes of a file are neither compressed nor text in UTF-8."""
    for mark, encoding in _WIDE_MARKS.items():
        if start.startswith(mark):
            raise PackingError(f"text in {encoding}. Save it as UTF-8")
    is_known = _packing(start) or _UNPACKED_JSON.match(start) or foreign_format(start, "JSON Lines")
    if path.name.lower().endswith(_PACKED_NAMES) and not is_known:
        raise PackingError("its first bytes are of no compressed file")
