"""Crawled pages from WARC files: which files, and what each record gives."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.inputs import WarcInput
from data_recipes.section import RecipeError
from infra.store import file_digest
from pipelines.source.pages import NotAPage, page_document
from pipelines.source.reading import Reading
from pipelines.source.warc import SUFFIXES, Damage, read_responses


@dataclass(frozen=True)
class WarcFile:
    """A WARC file whose content has the digest `sha256`."""

    path: Path
    sha256: str

    def read(self, reading: Reading) -> None:
        if file_digest(self.path) != self.sha256:
            raise RuntimeError(f"{self.path}: changed since the run was planned. Start the run again.")
        read_pages(self.path, reading)


def pin(item: WarcInput, folder: Path) -> dict[str, Any]:
    """The digest of each file by its name. Raises RecipeError."""
    files = _warc_files(item, folder)
    require_unique_names([file.name for file in files], folder)
    return {"files": {file.name: file_digest(file) for file in files}}


def parts(item: WarcInput, pinned: Mapping[str, Any], folder: Path) -> Iterator[WarcFile]:
    """One shard a file, by name."""
    files = {file.name: file for file in _warc_files(item, folder)}
    yield from (WarcFile(files[name], pinned["files"][name]) for name in sorted(files))


def read_pages(path: Path, reading: Reading) -> None:
    """Take the documents of every response in the WARC file `path`."""
    for response in read_responses(path):
        if isinstance(response, Damage):
            reading.quarantine(f"{path.name}:{response.offset}", response.reason)
            continue
        try:
            page = page_document(response, path.name, reading.extractor, reading.heldout_fraction)
        except ValueError as error:
            reading.quarantine(f"{path.name}:{response.offset}", str(error))
            continue
        if isinstance(page, NotAPage):
            reading.skip(page.reason)
        else:
            reading.keep(page)


def _warc_files(item: WarcInput, folder: Path) -> list[Path]:
    """The files that the paths of `item` name, each once, by name. Raises RecipeError."""
    found = {
        file.resolve(): file
        for number, path in enumerate(item.paths, start=1)
        for file in _files_at(folder, path, f"paths[{number}] = {path!r}")
    }
    return sorted(found.values(), key=lambda file: file.name)


def _files_at(folder: Path, text: str, place: str) -> list[Path]:
    path = folder / text
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise RecipeError(f"{place}: not a WARC file, whose names end in {' or '.join(SUFFIXES)}. Name others.")
        return [path]
    if path.is_dir():
        candidates, kind = path.rglob("*"), "folder"
    elif glob.has_magic(text):
        root = Path(Path(text).anchor)
        candidates, kind = (folder / root).glob(str(Path(text).relative_to(root))), "glob"
    else:
        raise RecipeError(f"{place}: no such file or folder ({path}). Correct the path, or bring the file.")
    files = [file for file in candidates if file.name.endswith(SUFFIXES) and file.is_file()]
    if not files:
        raise RecipeError(f"{place}: the {kind} holds no WARC file ({path}). Files end in {' or '.join(SUFFIXES)}.")
    return files


def require_unique_names(names: Sequence[str], folder: Path) -> None:
    """Raise RecipeError where two files of a recipe in `folder` would give their documents the same origin."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(
            f"{folder}: source.inputs: two WARC files have the name {twice[0]!r}, by which their documents would be "
            "traced. Rename one."
        )
