"""WARC files whose records are LZ4 frames, as FastWARC writes them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from fastwarc.stream_io import Lz4Reader

from pipelines.source.web.warc.records import Damage, Record, cut_records

_MAGIC = b"\x04\x22\x4d\x18"


def is_lz4(file: BinaryIO) -> bool:
    """Whether a file is made of LZ4 frames; it is at its start before and after."""
    start = file.read(len(_MAGIC))
    file.seek(0)
    return start == _MAGIC


def cut_lz4_records(file: BinaryIO, limit: int) -> Iterator[Record | Damage]:
    """Every record of a WARC file of LZ4 frames; offsets are those in the file's decoded content. A damaged file ends
    there with a Damage."""
    offset = 0
    try:
        for record in cut_records(_Unpacked(file), limit):
            offset = record.offset
            yield replace(record, member=0)
    except OSError as error:
        yield Damage(offset, f"LZ4 file is damaged behind this record: {error}", 0)


class _Unpacked:
    """The decoded content of a file of LZ4 frames, from its start to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._frames = Lz4Reader(file)

    def read(self, size: int = -1, /) -> bytes:
        return bytes(self._frames.read(size))

    def seek(self, offset: int, /) -> object:
        raise OSError(f"an LZ4 file is read from its start on, not from {offset}")

    def seekable(self) -> bool:
        return False
