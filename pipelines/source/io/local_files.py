"""Files on this machine: below folders and links to folders, with names of any bytes."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.store import file_digest
from pipelines.source.errors import InputError
from pipelines.source.io.blocks import BLOCK_BYTES, FilePart, block_fingerprints, is_unchanged
from pipelines.source.io.globs import is_hidden, is_named
from pipelines.source.io.http_client import ChangedError
from pipelines.source.io.remote_file import StoreReadError

_STAND_INS = {
    re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/"): (
        "a pointer of Git LFS in the place of the file. Run `git lfs pull` in its repository"
    ),
    re.compile(rb"[./\w-]*/annex/objects/\S+\s*\Z"): (
        "a pointer of git-annex in the place of the file. Run `git annex get` in its repository"
    ),
}
_STAND_IN_BYTES = 1024
"""Upper limit of the size of a pointer, by the specification of Git LFS."""


@dataclass(frozen=True)
class FileType:
    """The type of files to search a path for: `noun` as in "no WARC file", and the endings of its names."""

    noun: str
    suffixes: tuple[str, ...]

    def fits(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes)

    def __str__(self) -> str:
        return " or ".join(filter(None, (", ".join(self.suffixes[:-1]), self.suffixes[-1])))


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, or on a disk that all machines share. `depth`: parts of its path below the folder that
    led to it."""

    path: Path
    name: str
    depth: int = 1

    def named(self, name: str) -> "LocalFile":
        return replace(self, name=name)

    def longer_names(self) -> Iterator[str]:
        parts = self.path.absolute().parts[1:]
        for count in range(self.depth, len(parts) + 1):
            yield printable("/".join(parts[-count:]))

    def fingerprint(self) -> str | dict[str, Any]:
        """The sha256 of the file; of a large one that of each of its blocks."""
        try:
            is_large = self.path.stat().st_size > BLOCK_BYTES
            return block_fingerprints(self.path) if is_large else file_digest(self.path)
        except OSError as error:
            raise InputError(
                f"paths: {printable(self.path)}: cannot be read ({error.strerror}). Make it readable, or take it out."
            ) from None

    def fetch(self, fingerprint: str | Mapping[str, Any] | FilePart, folder: Path) -> Path:  # noqa: ARG002 - lies here already
        """Of a part only its own blocks are checked."""
        try:
            is_same = self._holds(fingerprint)
        except OSError as error:
            raise StoreReadError(f"{printable(self.path)}: cannot be read here ({error.strerror})") from None
        if not is_same:
            raise ChangedError(f"{printable(self.path)}: changed since the run was planned. Start the run again.")
        return self.path

    def _holds(self, fingerprint: str | Mapping[str, Any] | FilePart) -> bool:
        if isinstance(fingerprint, FilePart):
            return fingerprint.is_in(self.path)
        if isinstance(fingerprint, str):
            return file_digest(self.path) == fingerprint
        return is_unchanged(self.path, fingerprint)


def local_files(text: str, folder: Path, file_type: FileType, field: str) -> list[LocalFile]:
    """The files that a path, a folder or a glob of a recipe in `folder` names. `field` starts the message of the
    InputError that is raised if there are none."""
    path = folder / text
    if path.is_file():
        if not file_type.fits(path.name):
            raise InputError(f"{field}: not a {file_type.noun}, whose names end in {file_type}. Name others.")
        return [_local_file(path, path.parent)]
    if path.is_dir():
        base, candidates, kind = path, visible_files(path, field), "folder"
    elif glob.has_magic(text):
        base, candidates, kind = *_glob(text, folder, field), "glob"
    else:
        raise InputError(f"{field}: no such file or folder ({path}). Correct the path, or bring the file.")
    files = [file for file in candidates if file_type.fits(file.name) and _leads(file.is_file)]
    if not files:
        raise InputError(f"{field}: the {kind} holds no {file_type.noun} ({path}). Files end in {file_type}.")
    # A file that links lead to as well goes by its own path.
    return [_local_file(file, base) for file in sorted(files, key=lambda file: (file != file.resolve(), file))]


def broken_links(paths: Sequence[str], folder: Path, file_type: FileType) -> list[str]:
    """Dangling links below the folders of `paths` whose names fit the type."""
    folders = [folder / text for text in paths if "://" not in text and (folder / text).is_dir()]
    files = (file for root in folders for file in visible_files(root, str(root)))
    return sorted(printable(file) for file in files if file_type.fits(file.name) and not _leads(file.exists))


def stand_in(path: Path) -> str | None:
    """The reason if a file is only a pointer to another, which the clone that it belongs to did not fetch, otherwise
    None."""
    if path.stat().st_size > _STAND_IN_BYTES:
        return None
    content = path.read_bytes()
    return next((reason for pattern, reason in _STAND_INS.items() if pattern.match(content)), None)


def printable(path: Path | str) -> str:
    """A path as text that every file and terminal takes: bytes that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _local_file(path: Path, base: Path) -> LocalFile:
    return LocalFile(path, printable(path.name), len(path.relative_to(base).parts))


def _glob(text: str, folder: Path, field: str) -> tuple[Path, Iterator[Path]]:
    """The folder at which the magic of a glob begins, and the pattern of the glob."""
    parts = Path(text).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base, pattern = folder.joinpath(*parts[:first]), "/".join(parts[first:])
    if "**" not in pattern:
        found = base.glob(pattern)
        return base, (file for file in found if not is_hidden(file.relative_to(base).as_posix(), pattern))
    files = _walk(base, field) if base.is_dir() else ()
    return base, (file for file in files if is_named(file.relative_to(base).as_posix(), pattern))


def _leads(check: Callable[[], bool]) -> bool:
    """The answer of a path's check. A link in a circle, or into a closed folder, leads nowhere."""
    try:
        return check()
    except OSError:
        return False


def visible_files(root: Path, field: str) -> Iterator[Path]:
    """Every file below a folder whose names have no dot before them. Raises InputError, its message with `field`."""
    return (file for file in _walk(root, field) if not is_hidden(file.relative_to(root).as_posix(), ""))


def _walk(root: Path, field: str) -> Iterator[Path]:
    """Every file below `root`, also below links to folders, each of which is entered once. Raises InputError."""
    entered, waiting = [root.resolve()], [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                below = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise InputError(
                f"{field}: {printable(folder)} cannot be read ({error.strerror}). Make it readable, or name others."
            ) from None
        for entry in below:
            path = folder / entry.name
            if not _leads(entry.is_dir):
                yield path
            elif entry.is_symlink():
                if not any(path.resolve().is_relative_to(root_entered) for root_entered in entered):
                    entered.append(path.resolve())
                    waiting.append(path)
            elif len(entered) == 1 or path.resolve() not in entered:
                waiting.append(path)
