"""Files of results: whether they are the same, damage to one, and which ones a power cut leaves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from infra.artifact import Artifact, Manifest
from infra.store import MANIFEST, file_digest


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder by its path, but not of a manifest, which has times."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != MANIFEST)
    return {str(file.relative_to(folder)): file_digest(file) for file in files}


def flip(file: Path, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def artifact(path: Path) -> Artifact:
    """A result at `path`, whose manifest is empty."""
    return Artifact(path, Manifest("", "", "", "", 1, {}, {}, (), {}, (), 0.0, {}))


class Disk:
    """The files that were flushed to disk: a power cut may leave any other one empty."""

    def __init__(self) -> None:
        self._flushed: set[tuple[int, int]] = set()

    def flushed(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._flushed.add((status.st_dev, status.st_ino))

    def cut(self, folder: Path) -> list[Path]:
        """Empty the other files below `folder`, and return them."""
        lost = [file for file in folder.rglob("*") if file.is_file() and not self.has(file)]
        for file in lost:
            os.truncate(file, 0)
        return lost

    def has(self, file: Path) -> bool:
        """Whether the content of `file` survives."""
        status = file.stat()
        return (status.st_dev, status.st_ino) in self._flushed


@contextmanager
def watched_disk() -> Iterator[Disk]:
    """Inside, flushes of files are noted."""
    disk, fsync = Disk(), os.fsync

    def noted(descriptor: int) -> None:
        disk.flushed(descriptor)
        fsync(descriptor)

    with patch.object(os, "fsync", noted):
        yield disk
