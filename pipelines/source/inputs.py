"""From the inputs of a recipe to shards of work, and to the digests that fix what they will read."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data_recipes import RecipeError
from data_recipes.schema import (
    DistributionsInput,
    Input,
    PydocInput,
    PythonSourcesInput,
    SourceSection,
    TextToSqlInput,
    WarcInput,
)
from infra.store import file_digest
from pipelines.source.pydoc_pages import module_shards
from pipelines.source.python_packages import (
    SourceFile,
    distribution_sources,
    installed_distributions,
    library_sources,
    pin_descriptions,
    pin_library,
    pin_sources,
)
from pipelines.source.sql_schemas import GENERATOR_VERSION
from pipelines.source.warc import SUFFIXES

FILES_PER_SHARD = 256
DESCRIPTIONS_PER_SHARD = 256
SCHEMAS_PER_SHARD = 1500

Item = TypeVar("Item")


@dataclass(frozen=True)
class WarcFile:
    """A WARC file whose content has the digest `sha256`."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class PydocPages:
    """Modules whose pages become one WARC file named `file_name`."""

    file_name: str
    modules: Sequence[str]


@dataclass(frozen=True)
class Descriptions:
    """Distributions whose long descriptions become documents."""

    names: Sequence[str]


@dataclass(frozen=True)
class SourceFiles:
    """Python files; those larger than `max_file_bytes` are passed over."""

    files: Sequence[SourceFile]
    max_file_bytes: int


@dataclass(frozen=True)
class SqlSchemas:
    """Schemas `first` to `last` - 1 of one side of a text-to-SQL input."""

    section: TextToSqlInput
    heldout: bool
    first: int
    last: int


Part = WarcFile | PydocPages | Descriptions | SourceFiles | SqlSchemas
"""What one shard reads."""


def pin(section: SourceSection, folder: Path) -> dict[str, Any]:
    """Plain data that fixes what the inputs of a recipe in `folder` contain.

    Raises RecipeError where an input is missing.
    """
    pins = []
    for number, item in enumerate(section.inputs, start=1):
        try:
            pins.append(_pin_input(item, folder))
        except RecipeError as error:
            raise RecipeError(f"{folder}: source.inputs[{number}].{error}") from None
    _require_unique_names([name for found in pins for name in found.get("files", {})], folder)
    return {"inputs": pins}


def plan(section: SourceSection, pins: Mapping[str, Any], folder: Path) -> list[Part]:
    """The parts of all inputs, in the order of the recipe and never in the order of folders."""
    return [
        part
        for item, pinned in zip(section.inputs, pins["inputs"], strict=True)
        for part in _parts(item, pinned, folder)
    ]


def _pin_input(item: Input, folder: Path) -> dict[str, Any]:
    match item:
        case WarcInput():
            files = _warc_files(item, folder)
            _require_unique_names([file.name for file in files], folder)
            return {"files": {file.name: file_digest(file) for file in files}}
        case PydocInput():
            return {"library": pin_library()}
        case DistributionsInput():
            return {"descriptions": pin_descriptions(installed_distributions())}
        case PythonSourcesInput():
            library = {"library": pin_library()} if item.standard_library else {}
            return {**library, "sources": {name: pin_sources(name) for name in item.distributions}}
        case TextToSqlInput():
            return {"generator": GENERATOR_VERSION}


def _parts(item: Input, pinned: Mapping[str, Any], folder: Path) -> Iterator[Part]:
    match item:
        case WarcInput():
            files = {file.name: file for file in _warc_files(item, folder)}
            yield from (WarcFile(files[name], pinned["files"][name]) for name in sorted(files))
        case PydocInput():
            shards = enumerate(module_shards())
            yield from (PydocPages(f"pydoc-{number:05d}.warc.gz", modules) for number, modules in shards)
        case DistributionsInput():
            yield from (Descriptions(names) for names in _slices(installed_distributions(), DESCRIPTIONS_PER_SHARD))
        case PythonSourcesInput():
            sources = library_sources() if item.standard_library else []
            sources += [file for name in item.distributions for file in distribution_sources(name)]
            yield from (SourceFiles(part, item.max_file_bytes) for part in _slices(sources, FILES_PER_SHARD))
        case TextToSqlInput():
            for heldout, count in ((False, item.num_schemas), (True, item.num_heldout_schemas)):
                for numbers in _slices(range(count), SCHEMAS_PER_SHARD):
                    yield SqlSchemas(item, heldout, numbers[0], numbers[-1] + 1)


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


def _require_unique_names(names: Sequence[str], folder: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(
            f"{folder}: source.inputs: two WARC files have the name {twice[0]!r}, by which their documents would be "
            "traced. Rename one."
        )


def _slices(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
