"""Records of ARC files, which crawlers wrote before WARC, and Common Crawl until 2012: a line with address, IP address,
date, type and length, then the response as it came (Internet Archive, "Arc File Format", version 1)."""

import gzip
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.source.web.warc.records import Damage, Record

STARTS_WITH = b"filedesc:"
_HEADER = re.compile(rb"(\S+) [\d.a-fA-F:]+ (\d{14}) (\S+) (\d{1,12})\r?\n")
_MAX_LINE_BYTES = 32 * 2**10
_PIECE_BYTES = 2**20
_GZIP = b"\x1f\x8b"


def is_arc(file: BinaryIO) -> bool:
    """Whether a file, plain or compressed by gzip, is an ARC file; it is at its start before and after."""
    head = file.read(2)
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            start = (unzipped if head == _GZIP else file).read(len(STARTS_WITH))
    except (OSError, EOFError, zlib.error):
        return False
    finally:
        file.seek(0)
    return start == STARTS_WITH


def cut_arc_records(file: BinaryIO, limit: int) -> Iterator[Record | Damage]:
    """Every record of an ARC file except those that describe the file. Offsets of a compressed file are those in its
    decoded content. A compressed file that breaks off, or is damaged, ends there with a Damage."""
    member = 0 if file.read(2) == _GZIP else None
    file.seek(0)
    stream = file if member is None else gzip.GzipFile(fileobj=file)
    offset = 0
    try:
        for record in _records(stream, limit, member):
            offset = record.offset
            yield record
    except (OSError, EOFError, zlib.error) as error:
        yield Damage(offset, f"compressed ARC file is damaged behind this record: {error}", member)


def _records(stream: BinaryIO | gzip.GzipFile, limit: int, member: int | None) -> Iterator[Record | Damage]:
    offset, is_lost = 0, False
    while line := stream.readline(_MAX_LINE_BYTES):
        header = _HEADER.fullmatch(line)
        if header is None:
            if line.strip() and not is_lost:
                yield Damage(offset, "no ARC record starts here", member)
                is_lost = True
            offset += len(line)
            continue
        is_lost = False
        length = int(header[4])
        block = _read(stream, length, limit)
        end = offset + len(line) + length
        if block is None:
            yield Damage(offset, f"record of {length} bytes, more than the {limit} that are read", member)
        elif len(block) < length:
            yield Damage(offset, "the file ends within this ARC record", member)
        elif not header[1].startswith(STARTS_WITH):
            yield Record(offset, end - offset, _headers(header), block, member)
        offset = end


def _read(stream: BinaryIO | gzip.GzipFile, length: int, limit: int) -> bytes | None:
    """The next `length` bytes, or None, and they are passed over, if they are more than `limit`."""
    if length <= limit:
        return stream.read(length)
    while length > 0 and (piece := stream.read(min(length, _PIECE_BYTES))):
        length -= len(piece)
    return None


def _headers(header: re.Match[bytes]) -> dict[str, str]:
    """As a WARC record would have them; the date as in ISO 8601."""
    url, date, content_type, _ = (value.decode("utf-8", "replace") for value in header.groups())
    day, time = f"{date[:4]}-{date[4:6]}-{date[6:8]}", f"{date[8:10]}:{date[10:12]}:{date[12:]}"
    is_http = url.lower().startswith(("http:", "https:"))
    return {
        "warc-type": "response" if is_http else "resource",
        "warc-target-uri": url,
        "warc-date": f"{day}T{time}Z",
        "content-type": "application/http; msgtype=response" if is_http else content_type,
    }
