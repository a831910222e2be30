"""From the inputs of a recipe to the digests that fix what they hold, and to shards of work."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from data_recipes.inputs import (
    CommonCrawlInput,
    DistributionsInput,
    Input,
    PydocInput,
    PythonSourcesInput,
    RepositoriesInput,
    TableInput,
    TextToSqlInput,
    WarcInput,
)
from data_recipes.schema import SourceSection
from data_recipes.section import RecipeError
from pipelines.source.code import repositories
from pipelines.source.io.local_files import broken_links
from pipelines.source.io.locations import Names, find_files, pin_files, require_unique_names
from pipelines.source.python import distributions, pydoc_pages, python_sources
from pipelines.source.reading import Part
from pipelines.source.tables import table_files as tables
from pipelines.source.tables.table_files import TableFile
from pipelines.source.text_to_sql import generator as text_to_sql
from pipelines.source.web import common_crawl
from pipelines.source.web.warc import files as warc_files
from pipelines.source.web.warc.files import WarcFile

KINDS: Mapping[type[Input], ModuleType] = {
    WarcInput: warc_files,
    CommonCrawlInput: common_crawl,
    TableInput: tables,
    PydocInput: pydoc_pages,
    DistributionsInput: distributions,
    PythonSourcesInput: python_sources,
    RepositoriesInput: repositories,
    TextToSqlInput: text_to_sql,
}
"""The module that reads each kind of input. It has `pin(item, folder)`: plain data that fixes what the input holds, or
RecipeError; of inputs of files `file_type(item)` and `check(item, files)` instead; and `parts(item, pinned, folder)`:
its shards, in an order that no folder and no machine changes."""
FILES = WarcInput | TableInput
"""Inputs of files, which have `paths`."""


def pin(section: SourceSection, folder: Path) -> dict[str, Any]:
    """Plain data that fixes what the inputs of a recipe in `folder` contain.

    Raises RecipeError where an input is missing.
    """
    pins, names = [], Names()
    for number, item in enumerate(section.inputs, start=1):
        try:
            pins.append(_pin(item, folder, names))
        except RecipeError as error:
            raise RecipeError(f"source.inputs.{number}.{error}") from None
    require_unique_names(names.given)
    return {"inputs": pins}


def _pin(item: Input, folder: Path, names: Names) -> dict[str, Any]:
    reader = KINDS[type(item)]
    if not isinstance(item, FILES):
        return reader.pin(item, folder)
    files = find_files(item.paths, folder, reader.file_type(item))
    reader.check(item, files)
    return {"files": pin_files(files, names)}


def left_out(section: SourceSection, folder: Path) -> list[str]:
    """Links to files of the inputs that lead nowhere."""
    return [
        link
        for item in section.inputs
        if isinstance(item, FILES)
        for link in broken_links(item.paths, folder, KINDS[type(item)].file_type(item))
    ]


class PlannedPart(NamedTuple):
    """What one shard reads, and plain data that fixes what comes of it: of a file its name and pin, so that a file more
    or less leaves the others' shards as they are; of any other part the pins of its whole input."""

    part: Part
    fixed_by: Any


def plan(section: SourceSection, pins: Mapping[str, Any], folder: Path) -> list[PlannedPart]:
    """The parts of all inputs, in the order of the recipe and never in the order of folders."""
    return [
        PlannedPart(part, {"input": identity(item), "content": _content(part, pinned)})
        for item, pinned in zip(section.inputs, pins["inputs"], strict=True)
        for part in KINDS[type(item)].parts(item, pinned, folder)
    ]


def identity(item: Input) -> dict[str, Any]:
    """The fields of an input without the places where it lies: what they contain is pinned."""
    return {name: value for name, value in item.as_params().items() if name not in ("paths", "base_url")}


def _content(part: Part, pinned: Mapping[str, Any]) -> Any:
    return [part.file.name, part.pinned] if isinstance(part, WarcFile | TableFile) else pinned
