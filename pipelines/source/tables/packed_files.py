"""The bytes of a file that is plain or compressed, which its first bytes show: names are wrong now and then."""

import bz2
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from arctic_errors import ArcticError

_MAGIC_BYTES = 64
_READ_BYTES = 1 << 18
_GZIP_MAGIC, _BZ2_MAGIC = b"\x1f\x8b", b"BZh"
_GZIP_HEADER = 16
"""Added to zlib's window bits: the stream has a gzip header and a checksum."""
_PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
}
"""How a file starts: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2; a block of bzip2, or the end of an empty file."""
_UNPACKED_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{|\Z)")
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


def is_packed(path: Path) -> bool:
    """Whether a file's first bytes are those of a compressed one. Raises OSError."""
    with path.open("rb") as file:
        return _packing(file.read(_MAGIC_BYTES)) is not None


def unpacked_blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    """The content of the JSON Lines file at `path`, in blocks of at most `block_bytes`.

    Raises PackingError behind the last block that can be read of a damaged file.
    """
    with path.open("rb") as file:
        start = file.read(_MAGIC_BYTES)
        file.seek(0)
        _require_text(path, start)
        packing = _packing(start)
        try:
            yield from _unpack(file, packing, block_bytes)
        except EOFError:
            raise PackingError(f"Truncated {packing} stream") from None
        except (OSError, zlib.error, pa.ArrowException) as error:
            raise PackingError(str(error).partition("\n")[0]) from None


def _packing(start: bytes) -> str | None:
    return next((name for name, magic in _PACKINGS.items() if magic.match(start)), None)


def _unpack(file: BinaryIO, packing: str | None, block_bytes: int) -> Iterator[bytes]:
    if packing == "gzip":
        yield from _gunzip(file, block_bytes)
    elif packing == "bz2":
        yield from _bunzip(file, block_bytes)
    elif packing:
        with pa.input_stream(file, compression=packing) as stream:
            while block := stream.read(block_bytes):
                yield block
    else:
        while block := file.read(block_bytes):
            yield block


def _gunzip(file: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The members of a gzip file one after the other. Zeros behind a member are padding, as in Python's `gzip`, which
    reads 8 KiB at a time; Arrow's reader refuses them."""
    packed = file.read(_READ_BYTES)
    while packed:
        if packed[:2] != _GZIP_MAGIC[: len(packed)]:
            raise OSError(f"Not a gzipped file ({packed[:2]!r})")
        member = zlib.decompressobj(zlib.MAX_WBITS | _GZIP_HEADER)
        while not member.eof:
            if not packed:
                raise EOFError
            if block := member.decompress(packed, block_bytes):
                yield block
            packed = member.unconsumed_tail or (b"" if member.eof else file.read(_READ_BYTES))
        packed = _after_padding(file, member.unused_data)


def _bunzip(file: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The streams of a bzip2 file one after the other, padded with zeros as `_gunzip` allows."""
    packed = file.read(_READ_BYTES)
    while packed:
        if packed[:3] != _BZ2_MAGIC[: len(packed)]:
            raise OSError(f"Not a bzip2 file ({packed[:3]!r})")
        stream = bz2.BZ2Decompressor()
        while not stream.eof:
            if stream.needs_input and not packed:
                raise EOFError
            if block := stream.decompress(packed, block_bytes):
                yield block
            packed = file.read(_READ_BYTES) if stream.needs_input and not stream.eof else b""
        packed = _after_padding(file, stream.unused_data)


def _after_padding(file: BinaryIO, packed: bytes) -> bytes:
    """`packed`, read on past zeros; empty at the end of the file."""
    while not (rest := packed.lstrip(b"\0")):
        packed = file.read(_READ_BYTES)
        if not packed:
            return b""
    return rest


def _require_text(path: Path, start: bytes) -> None:
    """Raise PackingError if the first bytes of a file are neither compressed nor text in UTF-8."""
    for mark, encoding in _WIDE_MARKS.items():
        if start.startswith(mark):
            raise PackingError(f"text in {encoding}. Save it as UTF-8")
    if path.name.lower().endswith(_PACKED_NAMES) and not _packing(start) and not _UNPACKED_JSON.match(start):
        raise PackingError("its first bytes are of no compressed file")
