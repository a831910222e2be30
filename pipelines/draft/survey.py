"""The files that a user has, grouped by folder and by the kind of input that reads them."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.draft.rows import are_conversations
from pipelines.errors import OptionError
from pipelines.source.code.files import is_code_name
from pipelines.source.io.local_files import FileType
from pipelines.source.tables.table_files import FILES
from pipelines.source.text_files import TEXT_FILE
from pipelines.source.web.warc_files import WARC

TYPES: dict[str, FileType] = {
    "warc": WARC,
    "jsonl": FILES["jsonl"],
    "parquet": FILES["parquet"],
    "text_files": TEXT_FILE,
}
"""Kinds of input that read files, in the order in which a name is matched."""
REPOSITORIES = "repositories"
CHAT = "chat"
"""Kind of the tables whose rows are conversations."""
NOT_FOLLOWED = ("__pycache__", "node_modules")
MAX_GROUPS, MIN_GROUP_BYTES = 12, 10**6
"""The subfolders of a folder are separate corpora if they are few and each is large enough."""


@dataclass(frozen=True)
class Group:
    """Files that one input of a recipe reads.

    Attributes:
        kind: Kind of the input.
        name: A name for the corpus.
        files: The files; for repositories, their folders.
        root: The folder that was given, or that holds the file that was given.
        num_bytes: Size of all files.
    """

    kind: str
    name: str
    files: tuple[Path, ...]
    root: Path
    num_bytes: int


@dataclass
class Survey:
    """Groups of files that can be read, and the number of files that cannot, by the ending of their names."""

    groups: list[Group] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)


def survey(paths: Sequence[Path]) -> Survey:
    """Look at all files at the given files and folders.

    Raises OptionError if a path is missing, or no file is of a kind that an input reads.
    """
    result = Survey()
    for path in paths:
        if not path.exists():
            raise OptionError(f"{path}: no such file or folder. Correct the path.")
        result.groups += _groups_of(path.absolute(), result.unread)
    if not result.groups:
        kinds = "WARC, JSON Lines, Parquet, text or HTML files, or code"
        raise OptionError(f"{', '.join(map(str, paths))}: no {kinds}. Name a folder that holds some.")
    return result


def _groups_of(start: Path, unread: Counter[str]) -> list[Group]:
    root = start if start.is_dir() else start.parent
    members: dict[tuple[str, str], list[Path]] = {}
    for path in _files_and_repositories(start):
        kind = kind_of(path)
        if kind is None:
            unread[path.suffix.lower() or path.name] += 1
            continue
        parts = path.relative_to(root).parts
        # A repository is read whole, and the repositories of a folder are one corpus.
        folder = parts[0] if len(parts) > 1 and kind != REPOSITORIES else ""
        members.setdefault((folder, kind), []).append(path)
    members = _merged(members)
    return [
        Group(kind, _name(root, folder, kind, members), tuple(sorted(paths)), root, sum(map(_size, paths)))
        for (folder, kind), paths in sorted(members.items())
    ]


def kind_of(path: Path) -> str | None:
    """The kind of input that reads a file or the folder of a repository; None if there is none."""
    if path.is_dir():
        return REPOSITORIES
    kind = next((kind for kind, file_type in TYPES.items() if file_type.fits(path.name)), None)
    if kind == "jsonl" and not _holds_rows(path):
        return None
    return CHAT if kind in FILES and are_conversations(path) else kind


def _files_and_repositories(start: Path) -> Iterator[Path]:
    """Every file at or below a path, but of a repository only its folder."""
    if start.is_file():
        yield start
        return
    for folder, subfolders, names in os.walk(start):
        subfolders[:] = sorted(name for name in subfolders if name[0] != "." and name not in NOT_FOLLOWED)
        path = Path(folder)
        if (path / ".git").exists() or (any(map(is_code_name, names)) and _is_mostly_code(path)):
            subfolders.clear()
            yield path
            continue
        yield from (path / name for name in sorted(names) if name[0] != ".")


def _is_mostly_code(folder: Path) -> bool:
    """Whether most files below a folder are code."""
    names = [name for _, _, names in os.walk(folder) for name in names if name[0] != "."]
    return 2 * sum(map(is_code_name, names)) > len(names)


def _holds_rows(path: Path) -> bool:
    """Whether a file is JSON Lines: `.json` files often hold one document over many lines."""
    if path.name.lower().endswith((".bz2", ".zst")):
        return True
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        try:
            return isinstance(json.loads(file.readline(2**24)), dict)
        except (ValueError, OSError, EOFError):
            return False


def _merged(members: dict[tuple[str, str], list[Path]]) -> dict[tuple[str, str], list[Path]]:
    """The files by folder and kind, with the folders of a kind as one if they are many or one of them is small."""
    merged: dict[tuple[str, str], list[Path]] = {}
    for kind in {kind for _, kind in members}:
        folders = {folder: paths for (folder, other), paths in members.items() if other == kind}
        if len(folders) > MAX_GROUPS or any(sum(map(_size, paths)) < MIN_GROUP_BYTES for paths in folders.values()):
            folders = {"": [path for paths in folders.values() for path in paths]}
        merged |= {(folder, kind): paths for folder, paths in folders.items()}
    return merged


def _name(root: Path, folder: str, kind: str, members: dict[tuple[str, str], list[Path]]) -> str:
    """The name of the folder, with the kind if the folder holds several."""
    base = folder or root.name
    num_kinds = sum(1 for name, _ in members if name == folder)
    return f"{base}_{kind}" if num_kinds > 1 else base


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return path.stat().st_size
