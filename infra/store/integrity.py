"""Committed files are read as they were written, or not at all.

A reader of committed bytes looks up their digest in the manifest above them. Files that belong to no committed result
(an input of the user's, a shard that is being made) have no digest and pass.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from infra.artifact import Artifact, FileEntry, Manifest, released
from infra.store.cache import MANIFEST
from infra.store.errors import StoreError
from infra.store.files import file_digest, read_footer
from infra.store.store import read_manifest

_intact: set[tuple[Path, int, int]] = set()
_known: dict[tuple[str, int, int], Manifest] = {}
_STAGES = f"{os.sep}stages{os.sep}"
_MISSING = -1, -1


class DamageError(StoreError):
    """A committed file has changed since its commit: the message names the result and the remedy."""


@contextmanager
def known_manifests(artifacts: Iterable[Artifact]) -> Iterator[None]:
    """Take the digests of these results from their manifests, which were checked when they were read: parsing one again
    costs more than most checks. A manifest whose file has changed since is read again."""
    known = {(str(each.folder.absolute()), *each.state): each.manifest for each in artifacts if each.state}
    _known.update(known)
    try:
        yield
    finally:
        for each in known:
            _known.pop(each, None)


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
        if state[1:] == _MISSING or file_digest(file) != entry.sha256:
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
    elif not _is_footer_of(entry, file):
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
    text = str(file.absolute())
    located = _locate(text)
    if located is None:
        return None
    folder, *state = located
    return _entries(folder, *state).get(text[len(folder) + 1 :])


def committed_files(path: Path) -> list[Path]:
    """The committed files at or below a path, with those that are missing but not released; none if it is in no
    committed result."""
    folder = committed_folder(path / MANIFEST)
    if folder is None:
        return []
    inside = path.absolute().relative_to(folder)
    gone = released(folder)
    names = [Path(name) for name in _entries(str(folder), *_state(folder / MANIFEST)) if name not in gone]
    return [folder / name for name in names if inside in (name, *name.parents)]


def committed_folder(file: Path) -> Path | None:
    """The committed result that a file lies in: `<store>/stages/<name>/<result>`, if that has a manifest."""
    located = _locate(str(file.absolute()))
    return Path(located[0]) if located else None


def _locate(file: str) -> tuple[str, int, int] | None:
    """The folder of the committed result that a file lies in, with size and time of change of its manifest.

    Paths are text here: every file that is opened passes, and `pathlib` takes longer than the digest of a footer."""
    end = len(file)
    while (end := file.rfind(_STAGES, 0, end)) >= 0:
        name, _, below = file[end + len(_STAGES) :].partition(os.sep)
        result, inside, _ = below.partition(os.sep)
        folder = f"{file[:end]}{_STAGES}{name}{os.sep}{result}"
        state = _state(Path(f"{folder}{os.sep}{MANIFEST}")) if inside else _MISSING
        if state != _MISSING:
            return folder, *state
    return None


@lru_cache(maxsize=64)
def _entries(folder: str, size: int, changed_ns: int) -> Mapping[str, FileEntry]:
    manifest = _known.get((folder, size, changed_ns)) or read_manifest(Path(folder))
    return {entry.path: entry for entry in manifest.files}


def _is_footer_of(entry: FileEntry, file: Path) -> bool:
    try:
        return read_footer(file) == (entry.bytes, entry.footer_sha256)
    except FileNotFoundError:
        return False


def _state(file: Path) -> tuple[int, int]:
    """Size and time of change; _MISSING if there is no such file."""
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    return status.st_size, status.st_mtime_ns
