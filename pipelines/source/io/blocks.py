"""Large files of this machine in blocks, which are checked one by one, so that a worker reads and checks its part only.

A part begins at the start of a block and owns the records that begin before the next block, even if they end later.
Parts depend on the file alone, never on the number of workers.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

BLOCK_BYTES = 128 * 2**20
"""Size of a block, and up to which a file is fingerprinted as a whole. More than any record that is read: see
`MAX_LINE_BYTES` and `MAX_RECORD_BYTES`."""
_READ_BYTES = 2**20


@dataclass(frozen=True)
class FilePart:
    """Bytes [start, stop) of a file: records that begin there. `newlines_before`: those before `start`; `digests`:
    sha256 of the blocks that the part's records may touch, by number."""

    start: int
    stop: int
    newlines_before: int
    block_bytes: int
    digests: Mapping[int, str]

    def is_in(self, path: Path) -> bool:
        """Whether the part's blocks have the bytes that they had when the run was planned."""
        with path.open("rb") as file:
            for number, digest in self.digests.items():
                file.seek(number * self.block_bytes)
                if _block_fingerprint(file, self.block_bytes)[0] != digest:
                    return False
        return True


def block_fingerprints(path: Path) -> dict[str, Any]:
    """Plain data that fixes the content of a large file: sha256 and number of newlines of each block."""
    with path.open("rb") as file:
        blocks = [list(_block_fingerprint(file, BLOCK_BYTES)) for _ in range(0, path.stat().st_size, BLOCK_BYTES)]
    return {"block_bytes": BLOCK_BYTES, "size_bytes": path.stat().st_size, "blocks": blocks}


def is_unchanged(path: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Whether the whole file has the bytes that `block_fingerprints` saw."""
    size = fingerprint["block_bytes"]
    with path.open("rb") as file:
        same = all(_block_fingerprint(file, size)[0] == digest for digest, _ in fingerprint["blocks"])
        return same and not file.read(1)


def parts(fingerprint: Any) -> Iterator[FilePart]:
    """The parts of a file by the result of `block_fingerprints`; none if the file was fingerprinted as a whole."""
    if not isinstance(fingerprint, Mapping) or "blocks" not in fingerprint:
        return
    size, blocks, newlines = fingerprint["block_bytes"], fingerprint["blocks"], 0
    for number, (_, count) in enumerate(blocks):
        start, stop = number * size, min((number + 1) * size, fingerprint["size_bytes"])
        yield part(fingerprint, start, stop, newlines, range(number - 1, number + 2))
        newlines += count


def part_of(fingerprint: Any) -> FilePart | None:
    """The part that a shard reads; None for a whole file."""
    return fingerprint if isinstance(fingerprint, FilePart) else None


def part_params(fingerprint: Any) -> Any:
    """Plain data that fixes the content of a part, or of a whole file."""
    if not isinstance(fingerprint, FilePart):
        return fingerprint
    return [fingerprint.start, fingerprint.stop, fingerprint.newlines_before, sorted(fingerprint.digests.items())]


def part(
    fingerprint: Mapping[str, Any], start: int, stop: int, newlines_before: int, touched: Iterable[int]
) -> FilePart:
    """Bytes [start, stop) of the file, whose records may touch the blocks `touched`."""
    blocks = fingerprint["blocks"]
    digests = {number: blocks[number][0] for number in touched if 0 <= number < len(blocks)}
    return FilePart(start, stop, newlines_before, fingerprint["block_bytes"], digests)


def _block_fingerprint(file: BinaryIO, block_bytes: int) -> tuple[str, int]:
    """sha256 and number of newlines of the block at the current position of `file`."""
    digest, newlines, left = hashlib.sha256(), 0, block_bytes
    while left and (content := file.read(min(left, _READ_BYTES))):
        digest.update(content)
        newlines += content.count(b"\n")
        left -= len(content)
    return digest.hexdigest(), newlines
