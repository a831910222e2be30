"""From the inputs of a recipe to the digests that fix what they hold, and to shards of work."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from data_recipes.inputs import (
    DistributionsInput,
    Input,
    PydocInput,
    PythonSourcesInput,
    TextToSqlInput,
    WarcInput,
)
from data_recipes.schema import SourceSection
from data_recipes.section import RecipeError
from pipelines.source import distributions, pydoc_pages, python_sources, text_to_sql, warc_files
from pipelines.source.reading import Part
from pipelines.source.warc_files import require_unique_names

KINDS: Mapping[type[Input], ModuleType] = {
    WarcInput: warc_files,
    PydocInput: pydoc_pages,
    DistributionsInput: distributions,
    PythonSourcesInput: python_sources,
    TextToSqlInput: text_to_sql,
}
"""The module that reads each kind of input. It has `pin(item, folder)`: plain data that fixes what the input holds, or
RecipeError; and `parts(item, pinned, folder)`: its shards, in an order that no folder and no machine changes."""


def pin(section: SourceSection, folder: Path) -> dict[str, Any]:
    """Plain data that fixes what the inputs of a recipe in `folder` contain.

    Raises RecipeError where an input is missing.
    """
    pins = []
    for number, item in enumerate(section.inputs, start=1):
        try:
            pins.append(KINDS[type(item)].pin(item, folder))
        except RecipeError as error:
            raise RecipeError(f"{folder}: source.inputs[{number}].{error}") from None
    require_unique_names([name for found in pins for name in found.get("files", {})], folder)
    return {"inputs": pins}


def plan(section: SourceSection, pins: Mapping[str, Any], folder: Path) -> list[Part]:
    """The parts of all inputs, in the order of the recipe and never in the order of folders."""
    return [
        part
        for item, pinned in zip(section.inputs, pins["inputs"], strict=True)
        for part in KINDS[type(item)].parts(item, pinned, folder)
    ]
