"""Committed files are read as they were written, or not at all.

A reader of committed bytes looks up their digest in the manifest above them. Files that belong to no committed result
(an input of the user's, a shard that is being made) have no digest and pass.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from infra.artifact import FileEntry, released
from infra.store.errors import StoreError
from infra.store.files import file_digest, footer_digest
from infra.store.remote import MANIFEST
from infra.store.store import Store

_intact: set[tuple[Path, int, int]] = set()


class DamageError(StoreError):
    """A committed file has changed since its commit: the message names the result and the remedy."""


def read_committed(file: Path) -> bytes:
    """The bytes of a file. Raises DamageError if it is committed and they are not those of its manifest."""
    content = file.read_bytes()
    entry = committed_entry(file)
    if entry is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
        raise damage(file)
    return content


def require_intact(file: Path) -> None:
    """Hash a committed file, once in this process. Raises DamageError if it is not as it was committed."""
    entry = committed_entry(file)
    if entry is None:
        return
    state = (file, *_state(file))
    if state not in _intact:
        if state[1:] == (-1, -1) or file_digest(file) != entry.sha256:
            raise damage(file)
        _intact.add(state)


def require_intact_footer(file: Path) -> None:
    """Check size and footer of a committed Parquet file, which holds the offsets of its pages; these carry checksums
    themselves. Raises DamageError."""
    entry = committed_entry(file)
    if entry is None:
        return
    if entry.footer_sha256 is None:
        require_intact(file)
    elif _state(file)[0] != entry.bytes or footer_digest(file) != entry.footer_sha256:
        raise damage(file)


def require_unreleased(path: Path) -> None:
    """Raises DamageError, with the reason, if a committed file at or below a path was released."""
    if folder := committed_folder(path / MANIFEST):
        for name in sorted(released(folder)):
            if path.absolute() in (folder / name, *(folder / name).parents):
                raise damage(folder / name)


@contextmanager
def damage_named(*paths: Path) -> Iterator[None]:
    """Report any exception while reading these files (or folders of them) as damage, if one has changed since its
    commit."""
    try:
        yield
    except DamageError:
        raise
    except Exception:
        for path in paths:
            for file in committed_files(path):
                require_intact(file)
        raise


def damage(file: Path) -> DamageError:
    """The error for a damaged committed file, or for one that was released."""
    folder = committed_folder(file)
    if folder and (reason := released(folder).get(file.absolute().relative_to(folder).as_posix())):
        return DamageError(
            f"{file}: {reason}. Delete {folder} and run the same command again to build that result again, with this "
            "file."
        )
    return DamageError(
        f"{file}: damaged, it differs from the committed file. Delete {folder} and run the same command again to build "
        "that result again."
    )


def committed_entry(file: Path) -> FileEntry | None:
    """The entry of a file in the manifest of its result; None if it belongs to none. Raises StoreError."""
    folder = committed_folder(file)
    if folder is None:
        return None
    entries = _entries(folder, *_state(folder / MANIFEST))
    return entries.get(file.absolute().relative_to(folder).as_posix())


def committed_files(path: Path) -> list[Path]:
    """The committed files at or below a path, with those that are missing but not released; none if it is in no
    committed result."""
    folder = committed_folder(path / MANIFEST)
    if folder is None:
        return []
    inside = path.absolute().relative_to(folder)
    gone = released(folder)
    names = [Path(name) for name in _entries(folder, *_state(folder / MANIFEST)) if name not in gone]
    return [folder / name for name in names if inside in (name, *name.parents)]


def committed_folder(file: Path) -> Path | None:
    """The committed result that a file lies in: `<store>/stages/<name>/<result>`, if that has a manifest."""
    for folder in file.absolute().parents:
        if folder.parent.parent.name == "stages" and (folder / MANIFEST).is_file():
            return folder
    return None


@lru_cache(maxsize=64)
def _entries(folder: Path, _size: int, _changed_ns: int) -> Mapping[str, FileEntry]:
    artifact = Store(folder.parents[2]).read(folder)
    return {entry.path: entry for entry in artifact.manifest.files}


def _state(file: Path) -> tuple[int, int]:
    """Size and time of change; (-1, -1) if it is missing."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
