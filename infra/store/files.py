"""Files that are whole or absent after a crash, and their digests."""

import hashlib
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

FOOTER_BYTES = 16 * 2**10
"""Read at once from the end of a Parquet file: more than most footers take."""


def write_durably(path: Path, content: str | bytes) -> None:
    """Write a whole file, text as UTF-8, so that after a crash it has the old content or the new."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def replace_durably(partial: Path, file: Path) -> None:
    """Give a finished file its name, in place of an older one, flushed to disk before."""
    _fsync(partial)
    partial.replace(file)
    _fsync(file.parent)


def rename_durably(source: Path, target: Path) -> None:
    """Move a finished folder to its name, all that it holds flushed to disk before: files, and the folders that name
    them. An existing target is not replaced."""
    for path in (source, *source.rglob("*")):
        if path.is_file() or path.is_dir():
            _fsync(path)
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(source, ignore_errors=True)
    _fsync(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there, so that after a kill it is whole or gone; its remains then have a hidden name
    like that of scratch. A folder that cannot be moved stays as it is."""
    discarded = folder.with_name(f".{folder.name.removeprefix('.')}.{secrets.token_hex(4)}")
    with suppress(OSError):
        folder.rename(discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it if the file system or its rules refuse hard links. `target` is new."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        # SMB, exFAT and FUSE folders know no links, and Linux protects other users' files from them.
        shutil.copyfile(source, target)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder, a file with several names once. Files that vanish meanwhile count nothing."""
    sizes: dict[tuple[int, int], int] = {}
    for file in folder.rglob("*"):
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def footer_digest(file: Path) -> str:
    """sha256 of a Parquet file's metadata, their length and the closing magic (parquet-format, README)."""
    return read_footer(file)[1]


def read_footer(file: Path) -> tuple[int, str]:
    """Size of a Parquet file, and the digest of its footer."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        footer = os.pread(descriptor, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
        length = min(size, 8 + int.from_bytes(footer[-8:-4], "little"))
        if length > len(footer):
            footer = os.pread(descriptor, length, size - length)
        return size, hashlib.sha256(footer[-length:]).hexdigest()
    finally:
        os.close(descriptor)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
