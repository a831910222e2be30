"""The files of one checked-out repository: which are code to learn from, and why the others are not."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.source.code.language import detect, may_be_code
from pipelines.source.code.licences import METADATA, is_licence_file
from pipelines.source.code.rules import (
    PROSE,
    UndecodableCodeError,
    decode,
    has_generated_name,
    is_generated,
    is_minified,
    is_vendored,
)

GO_MODULE = "go.mod"


@dataclass(frozen=True)
class File:
    """A file of a repository: `path` inside the repository; `content` only if its name and size allow to read it, else
    `reason` explains why not."""

    path: str
    content: bytes
    reason: str


@dataclass(frozen=True)
class Code:
    """A file that is code somebody wrote."""

    path: str
    language: str
    text: str


def files_of(root: Path, max_file_bytes: int) -> Iterator[File]:
    """Every file of the repository at `root` by path, without version control's own. No symbolic link is followed."""
    for path in _paths(root):
        yield _open(root, path, max_file_bytes)


def add_to_digest(digest: "hashlib._Hash", file: File) -> None:
    """Take into `digest` all that the reading of `file` depends on."""
    said = hashlib.sha256(file.content).hexdigest() if not file.reason else file.reason
    digest.update(f"{file.path}\n{said}\n".encode(errors="surrogateescape"))


def read_code(file: File) -> Code | str:
    """The code in a file, or the reason why it is passed over."""
    if file.reason:
        return file.reason
    if not may_be_code(file.path):
        return "no_language"
    try:
        text = decode(file.content)
    except UndecodableCodeError as error:
        return error.reason
    language = detect(file.path, text)
    if language is None:
        return "no_language"
    if not text.strip():
        return "no_text"
    if is_generated(text):
        return "generated"
    if is_minified(file.path, language, text):
        return "minified"
    return Code(file.path, language, text)


def is_code_name(name: str) -> bool:
    """Whether the name of a file has the ending of a programming language, which no prose has."""
    pure = PurePosixPath(name)
    return bool(pure.suffix) and may_be_code(name) and detect(name, "") not in PROSE


def holds_code(folder: Path) -> bool:
    """Whether a folder directly contains files of code."""
    return any(is_code_name(path.name) for path in folder.iterdir() if path.is_file())


def _paths(root: Path) -> list[str]:
    paths = []
    for folder, subfolders, names in os.walk(root):
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        subfolders[:] = [name for name in subfolders if name not in links and name != ".git"]
        paths += [Path(folder, name).relative_to(root).as_posix() for name in [*names, *links] if name != ".git"]
    return sorted(paths)


def _open(root: Path, path: str, max_file_bytes: int) -> File:
    full = root / path
    try:
        reason = _reason(full, path, max_file_bytes)
        return File(path, b"" if reason else full.read_bytes(), reason)
    except OSError as error:
        return File(path, b"", f"unreadable: {error.strerror}")


def _reason(full: Path, path: str, max_file_bytes: int) -> str:
    """Why a file is not even opened, or "". Raises OSError."""
    if not path.isascii() and any("\ud800" <= sign <= "\udfff" for sign in path):
        return "unreadable: its name is not UTF-8"
    if full.is_symlink():
        return "symbolic_link"
    if not full.is_file():
        return "no_file"
    if is_vendored(path):
        return "vendored"
    if has_generated_name(path):
        return "generated"
    if not may_be_code(path) and not _is_about_the_repository(path):
        return "no_language"
    return "too_large" if full.stat().st_size > max_file_bytes else ""


def _is_about_the_repository(path: str) -> bool:
    """Whether a file that is not code contains the licence or the modules of the code."""
    name = path.rpartition("/")[2]
    return name == GO_MODULE or ("/" not in path and (name in METADATA or is_licence_file(name)))
