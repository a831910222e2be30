"""The bytes of a file that is plain or compressed, which its first bytes show: names are wrong now and then."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

_MAGIC_BYTES = 64
_PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
}
"""How a file starts: RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2; a block of bzip2, or the end of an empty file."""
_UNPACKED_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{|\Z)")
_PACKED_NAMES = (".gz", ".zst", ".bz2")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


class PackingError(ValueError):
    """A compressed file is damaged or ends early: the reason."""


def unpacked_blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    """What the JSON Lines file at `path` holds, in blocks of at most `block_bytes`.

    Raises PackingError behind the last block that can be read of a damaged file.
    """
    with path.open("rb") as file:
        start = file.read(_MAGIC_BYTES)
        file.seek(0)
        _require_text(path, start)
        packing = next((name for name, magic in _PACKINGS.items() if magic.match(start)), None)
        try:
            yield from _unpack(file, packing, block_bytes)
        except EOFError:
            raise PackingError("Truncated gzip stream") from None
        except (OSError, zlib.error, pa.ArrowException) as error:
            raise PackingError(str(error).partition("\n")[0]) from None


def _unpack(file: BinaryIO, packing: str | None, block_bytes: int) -> Iterator[bytes]:
    if packing == "gzip":
        # Unlike Arrow's, this reader takes zeros behind a member for the padding that they are.
        with gzip.GzipFile(fileobj=file) as stream:
            while block := stream.read1(block_bytes):
                yield block
    elif packing:
        with pa.input_stream(file, compression=packing) as stream:
            while block := stream.read(block_bytes):
                yield block
    else:
        while block := file.read(block_bytes):
            yield block


def _require_text(path: Path, start: bytes) -> None:
    """Raise PackingError where the first bytes of a file are neither compressed nor text in UTF-8."""
    if start.startswith(_WIDE_MARKS):
        raise PackingError("text in UTF-16. Save it as UTF-8")
    is_packed = any(magic.match(start) for magic in _PACKINGS.values())
    if path.name.lower().endswith(_PACKED_NAMES) and not is_packed and not _UNPACKED_JSON.match(start):
        raise PackingError("its first bytes are of no compressed file")
