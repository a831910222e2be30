"""Bounds of the records of a WARC file, located so that a damaged record costs only itself.

A record's own length, its compressed member and the bytes after it must agree. If they do not, reading continues at the
next start of a record.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO

from fastwarc.stream_io import ZstdReader

from arctic_errors import ArcticError
from pipelines.source.io.members import (
    GZIP,
    READ_BYTES,
    ZSTD,
    GzipMember,
    Stream,
    Window,
    ZstdFrame,
    gunzip_whole,
    read_up_to,
    unzstd_whole,
)

_WARC = re.compile(rb"WARC/[01]\.\d")
_WARC_LINE = re.compile(rb"WARC/[01]\.\d\r?\n")
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_DICTIONARY = b"\x5d\x2a\x4d\x18"
"""Starts the skippable zstd frame with the dictionary of all others (IIPC, "Zstandard compression for WARC files")."""
_STARTS = (_WARC, re.compile(re.escape(GZIP)), re.compile(re.escape(ZSTD)))
_ANY_START = re.compile(b"|".join(start.pattern for start in _STARTS))
_MAGIC_BYTES = 8
_MAX_HEAD_BYTES = 32 * 2**10
_TYPED_BYTES = 1024
"""Bytes from the first line of a header that contain its type."""
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_RECORD_END = b"\r\n\r\n"
NO_RECORD = "no WARC record starts here"
_PADDING = re.compile(rb"[^\0]")
_NO_BLANK_LINE = re.compile(rb"[^\r\n]")
LOOK_BACK_BYTES = 32 * 2**20
"""From here before a part of a file its records are followed: more than a stored archive that is read takes."""
_SINGLE_FIELDS = ("warc-type", "warc-target-uri", "warc-date")


@dataclass(frozen=True)
class Record:
    """One WARC record. `offset`, `length`: its bytes as stored in the file; or, if a compressed member holds several
    records, in the decoded content of the member that is stored from `member` on."""

    offset: int
    length: int
    headers: Mapping[str, str]
    block: bytes
    member: int | None = None


@dataclass(frozen=True)
class Damage:
    """A record, or a range of the file, that could not be read; offsets as in Record."""

    offset: int
    reason: str
    member: int | None = None


Found = Record | Damage


class UnsoundError(ArcticError, ValueError):
    """No record can be read here. `resume`: the start of the next one, if that is known in spite of it."""

    def __init__(self, reason: str, resume: int | None = None) -> None:
        super().__init__(reason)
        self.resume = resume


def cut_records(file: Stream, limit: int, start: int = 0, stop: int | None = None) -> Iterator[Found]:
    """Every record of a WARC file, plain or compressed record by record or as a whole, in order.

    Records of more than `limit` bytes are damages. Memory depends on `limit`, not on the file. Of a damaged member only
    those records are given that are complete before the damage, with another one begun behind them.

    With `start` or `stop`, only records that begin, as stored, in bytes [start, stop) of the file. A record looks like
    the start of one also inside of a stored archive, so reading begins LOOK_BACK_BYTES earlier and follows the records.
    """
    window = Window(file)
    head = window.take(0, READ_BYTES)
    if len(head) < READ_BYTES and not head.strip(b"\r\n"):
        yield Damage(0, "empty file")
        return
    step = partial(_stored, limit=limit, dictionary=_dictionary(window, limit))
    sought, first = _ANY_START, max(0, start - LOOK_BACK_BYTES)
    if first:
        sought = _own_start(window)
        first = window.find(sought, first)
    for found in _walk(window, step, sought, first, stop):
        if (found.offset if found.member is None else found.member) >= start:
            yield found


def parse_fields(lines: bytes) -> dict[str, str]:
    """Header fields by lower-case name: folded lines unfolded, repeated fields joined by ", "."""
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError:
        text = lines.decode("latin-1")
    fields: dict[str, str] = {}
    if "\n " in text or "\n\t" in text:
        text = re.sub(r"\r?\n[ \t]+", " ", text)
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _walk(
    window: Window,
    step: Callable[[Window, int], Generator[Found, None, int]],
    sought: re.Pattern[bytes],
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Found]:
    """The yields of `step` at each position of `window` in [start, stop), with one Damage for a range that cannot be
    parsed.

    `step` returns the end of the record. Unreadable bytes are skipped up to the next position of `sought`. If the start
    is in the middle of a file, the bytes before the first record belong to no range of this call.
    """
    searching = start > 0
    while (stop is None or start < stop) and (magic := window.take(start, _MAGIC_BYTES)):
        window.forget(start)
        if magic[0] in b"\r\n":
            # Some writers begin a record with blank lines, or close one with more than two.
            start = window.find(_NO_BLANK_LINE, start)
            continue
        try:
            start = yield from step(window, start)
        except UnsoundError as error:
            if not searching or error.resume is not None:
                yield Damage(start, str(error))
            searching = error.resume is None
            start = window.find(sought, start + 1) if error.resume is None else error.resume
        else:
            searching = False
            # A damaged page may hold bytes that look like records, of another kind than this file's own as a rule.
            sought = next((pattern for pattern in _STARTS if pattern.match(magic)), sought)


def _own_start(window: Window) -> re.Pattern[bytes]:
    """How records of this file start, by its first bytes."""
    magic = window.take(0, _MAGIC_BYTES)
    if _SKIPPABLE.match(magic):
        return _STARTS[-1]
    return next((pattern for pattern in _STARTS if pattern.match(magic)), _ANY_START)


def _stored(window: Window, start: int, limit: int, dictionary: bytes | None) -> Generator[Found, None, int]:
    """The stored bytes of the file from `start` on."""
    magic = window.take(start, _MAGIC_BYTES)
    if magic.startswith(GZIP):
        whole = gunzip_whole(window, start, limit)
    elif magic.startswith(ZSTD):
        whole = unzstd_whole(window, start, limit, dictionary)
    elif _SKIPPABLE.match(magic):
        return _skipped(window, start, magic)
    elif start and magic == bytes(_MAGIC_BYTES):
        return _padded(window, start)
    else:
        return (yield from _plain(window, start, limit))
    # Of an empty member the fast way does not show whether it is sound.
    if whole and (content := whole[1].lstrip(b"\r\n")) and (record := _only_record(content, start, whole[0])):
        yield record
        return whole[0]
    member = GzipMember(window, start) if magic.startswith(GZIP) else ZstdFrame(window, start, dictionary)
    return (yield from _inside(member, start, limit))


def _skipped(window: Window, start: int, magic: bytes) -> int:
    """End of a skippable zstd frame."""
    end = start + _MAGIC_BYTES + int.from_bytes(magic[4:], "little")
    if not window.take(end - 1, 1):
        raise UnsoundError("skippable zstd frame ends with the file")
    return end


def _padded(window: Window, start: int) -> int:
    """End of the zeros with which tapes and file systems pad their content."""
    end = window.find(_PADDING, start)
    if window.take(end, 1) and not _ANY_START.match(window.take(end, _MAGIC_BYTES)):
        raise UnsoundError(NO_RECORD)
    return end


def _inside(member: GzipMember | ZstdFrame, start: int, limit: int) -> Generator[Found, None, int]:
    """The records of a compressed member: one as a rule, or a whole file of them."""
    content = member.read(limit + 1)
    first = content.lstrip(b"\r\n")
    if not first and not member.error:
        return member.end
    if not _WARC.match(first):
        raise UnsoundError(member.error or NO_RECORD)
    if len(content) <= limit and not member.error:
        record = _only_record(first, start, member.end)
        if record:
            yield record
            return member.end
    # The last record is held until the member ends soundly: its damage shows only behind the bytes that it corrupted.
    held: list[Found] = []
    for inner in _walk(Window(_Content(content, member)), partial(_plain, limit=limit), _WARC):
        if isinstance(inner, Record):
            yield from held
            held = []
        at_start = isinstance(inner, Damage) and inner.offset == 0
        held.append(replace(inner, offset=start) if at_start else replace(inner, member=start))
    if member.error:
        raise UnsoundError(member.error)
    yield from held
    return member.end


def _only_record(content: bytes, start: int, end: int) -> Record | None:
    """The record that a member stored in [start, end) holds, or None if it holds several.

    Without Content-Length the member determines the record's end.
    """
    try:
        headers, head_bytes = _parse_head(content)
    except UnsoundError as error:
        raise UnsoundError(str(error), resume=end) from None
    length = _stated_length(headers)
    if length is None:
        return Record(start, end - start, headers, content[head_bytes:].removesuffix(_RECORD_END))
    block = content[head_bytes : head_bytes + length]
    if len(block) < length:
        raise UnsoundError(f"record ends after {len(block)} of {length} bytes", resume=end)
    rest = content[head_bytes + length :].lstrip(b"\r\n")
    if _WARC.match(rest):
        return None
    if rest:
        raise UnsoundError(f"record goes on after the {length} bytes of its Content-Length", resume=end)
    return Record(start, end - start, headers, block)


def _plain(window: Window, start: int, limit: int) -> Generator[Found, None, int]:
    """The uncompressed record that starts at `start`."""
    headers, head_bytes = _parse_head(window.take(start, _MAX_HEAD_BYTES))
    length = _stated_length(headers)
    if length is None:
        raise UnsoundError("record without Content-Length")
    block_end = start + head_bytes + length
    large = block_end - start > limit
    if not large:
        held = window.hold(start, block_end + 2 * _MAGIC_BYTES - start)
        if held < block_end - start:
            raise UnsoundError(f"record ends with the file, after {max(held - head_bytes, 0)} of {length} bytes")
    closing = _record_end(window, block_end)
    if closing is None:
        # Bytes that were passed to look at the end of a large record are lost if the window cannot move back.
        resume = block_end if large and not window.seekable else None
        raise UnsoundError(f"no record ends after the {length} bytes of its Content-Length", resume)
    end, is_followed = closing
    if large:
        raise UnsoundError(f"record of more than the {limit} bytes that are read", resume=end)
    block = window.take(start + head_bytes, length)
    # Blank lines also end the header of the next record, which one that lost some bytes may reach to.
    if not is_followed and _holds_record(block):
        raise UnsoundError(f"no record follows the {length} bytes of its Content-Length, one starts inside them")
    yield Record(start, end - start, headers, block)
    return end


def _record_end(window: Window, block_end: int) -> tuple[int, bool] | None:
    """End of the record whose block ends at `block_end`, after the blank lines that close it, and whether another one
    or the file's end follows; None if none is closed there and none starts."""
    around = window.take(block_end - 1, 1 + _MAGIC_BYTES)
    closing = around[1:]
    end = block_end + len(closing) - len(closing.lstrip(b"\r\n"))
    following = window.take(end, _MAGIC_BYTES)
    is_followed = not following or _ANY_START.match(following) is not None
    return (end, is_followed) if around and (closing.startswith(_RECORD_END) or is_followed) else None


def _holds_record(block: bytes) -> bool:
    return any(
        b"warc-type:" in block[line.end() : line.end() + _TYPED_BYTES].lower() for line in _WARC_LINE.finditer(block)
    )


def _parse_head(content: bytes) -> tuple[dict[str, str], int]:
    """Fields of a WARC header and the bytes that it takes with its blank line. Raises UnsoundError."""
    if not _WARC.match(content):
        raise UnsoundError(NO_RECORD)
    blank_line = _BLANK_LINE.search(content, 0, _MAX_HEAD_BYTES)
    if not blank_line:
        raise UnsoundError("WARC header without end")
    head = content[: blank_line.start()]
    another = _WARC_LINE.search(head, _MAGIC_BYTES)
    if another and b"warc-type:" in head[another.end() :].lower():
        raise UnsoundError("WARC header breaks off where another starts")
    fields = parse_fields(head)
    for name in _SINGLE_FIELDS:
        if fields.get(name, "").count(", "):
            fields[name] = _single(name, fields[name])
    return fields, blank_line.end()


def _single(name: str, joined: str) -> str:
    """The value of a field that a header has once, or several times alike. Raises UnsoundError if a type or date
    differs between repetitions; a URL may contain commas."""
    values = joined.split(", ")
    for size in range(1, len(values) // 2 + 1):
        value = ", ".join(values[:size])
        if joined == ", ".join([value] * (len(values) // size)):
            return value
    if name == "warc-target-uri":
        return joined
    raise UnsoundError(f"several fields {name} that differ: {joined[:80]}")


def _stated_length(headers: Mapping[str, str]) -> int | None:
    length = re.match(r"(\d{1,18})(?:,|$)", headers.get("content-length", ""))
    return int(length[1]) if length else None


def _dictionary(window: Window, limit: int) -> bytes | None:
    """The zstd dictionary that the file starts with, itself plain or compressed."""
    magic = window.take(0, _MAGIC_BYTES)
    size = int.from_bytes(magic[4:], "little")
    if not magic.startswith(_DICTIONARY) or size > limit:
        return None
    stored = window.take(_MAGIC_BYTES, size)
    return read_up_to(ZstdReader(BytesIO(stored)), limit)[0] if stored.startswith(ZSTD) else stored


class _Content:
    """The decoded content of a member, of which `first` was read already, as a stream that cannot seek."""

    def __init__(self, first: bytes, member: GzipMember | ZstdFrame) -> None:
        self._first = BytesIO(first)
        self._member = member

    def read(self, size: int) -> bytes:
        return self._first.read(size) or self._member.read(size)

    def seek(self, offset: int) -> int:
        raise OSError(f"a compressed member is read forwards; asked for byte {offset}")

    def seekable(self) -> bool:
        return False
