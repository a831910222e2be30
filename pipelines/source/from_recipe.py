"""From the inputs of a recipe to fingerprints of their content, and to shards of work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from arctic_errors import UserError
from data_recipes.schema import SourceSection
from data_recipes.section import ExtensionSection, RecipeError
from data_recipes.sections.inputs import AnnotatedInput, Input, InputSection
from infra.artifact import Artifact
from infra.stage import canonical_json
from pipelines.extension import Extension, ExtensionError, load_class, recipe_errors, restore
from pipelines.source.errors import InputError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.io.local_files import broken_links
from pipelines.source.io.locations import require_unique_names
from pipelines.source.own import OwnReader
from pipelines.source.protocol import BuiltInKind, FileKind, InputKind, InputSplit, QuestionKind


def fingerprint(section: SourceSection, folder: Path) -> dict[str, Any]:
    """Plain data that fixes the content of the inputs of a recipe in `folder`. Raises RecipeError if one is missing."""
    fingerprints, input_folder = [], InputFolder(folder)
    for number, item in enumerate(section.inputs, start=1):
        field = f"source.inputs.{number}"
        try:
            with recipe_errors(field):
                fingerprints.append(_fingerprint(item, input_folder))
        except RecipeError:
            raise
        except UserError as error:
            raise RecipeError(f"{field}.{error}") from error
    try:
        require_unique_names(input_folder.names.used)
    except InputError as error:
        raise RecipeError(str(error)) from None
    return {"inputs": fingerprints}


def open_kind(section: Input, folder: Path) -> InputKind:
    """The input that `section` of a recipe in `folder` describes. Raises ExtensionError."""
    if isinstance(section, ExtensionSection):
        return cast(InputKind, Extension.find(section.kind, section.fields, InputKind, folder).make())
    return _built_in(section)


def _built_in(section: InputSection) -> BuiltInKind:
    kind_class: type[BuiltInKind] = load_class(section.implementation, InputKind)
    return kind_class(**dict(section))


def _fingerprint(item: Input, folder: InputFolder) -> Any:
    if not isinstance(item, ExtensionSection):
        return open_kind(item, folder.path).fingerprint(folder)
    extension = Extension.find(item.kind, item.fields, InputKind, folder.path)
    content = extension.make().fingerprint(folder)
    try:
        canonical_json(content)
    except TypeError as error:
        raise ExtensionError(f"{item.kind}: its fingerprint is no plain data: {error}.") from None
    return {"class": extension.fingerprint(), "content": content}


def left_out(section: SourceSection, folder: Path) -> list[str]:
    """Links to files of the inputs that lead nowhere."""
    kinds = (open_kind(item, folder) for item in section.inputs)
    return [
        link
        for kind in kinds
        if isinstance(kind, FileKind)
        for link in broken_links(kind.paths, folder, kind.file_type)
    ]


def question_kinds(section: SourceSection, folder: Path) -> dict[int, QuestionKind]:
    """The inputs that make questions as well, by their number from 1."""
    kinds = enumerate((open_kind(item, folder) for item in section.inputs), start=1)
    return {number: kind for number, kind in kinds if isinstance(kind, QuestionKind)}


def annotated_inputs(section: SourceSection) -> list[AnnotatedInput]:
    """The inputs that read results of other stages."""
    return [item for item in section.inputs if isinstance(item, AnnotatedInput)]


def plan(
    section: SourceSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    results: Mapping[str, Artifact] = MappingProxyType({}),
) -> list[InputSplit]:
    """The splits of all inputs, in the order of the recipe and never in the order of folders.

    The fingerprint of each fixes its result: adding or removing a file leaves the others' shards unchanged.
    """
    input_folder = InputFolder(folder, results=results)
    return [
        InputSplit(split.reader, {"input": fields, "content": split.fingerprint})
        for item, content in zip(section.inputs, fingerprints["inputs"], strict=True)
        for fields in [identity(item)]
        for split in _splits(item, content, input_folder)
    ]


def _splits(item: Input, fingerprint: Any, folder: InputFolder) -> Iterator[InputSplit]:
    """The splits of one input, each with a fingerprint."""
    if not isinstance(item, ExtensionSection):
        for split in open_kind(item, folder.path).splits(fingerprint, folder):
            yield InputSplit(split.reader, fingerprint if split.fingerprint is None else split.fingerprint)
        return
    (extension,) = restore([item], [fingerprint["class"]], folder.path)
    for split in extension.make().splits(fingerprint["content"], folder):
        content = fingerprint if split.fingerprint is None else [fingerprint["class"], split.fingerprint]
        yield InputSplit(OwnReader.of(split.reader, extension), content)


def identity(item: Input) -> dict[str, Any]:
    """The fields of an input without the locations, whose content is fingerprinted, and the versions of what reads it.
    Those of a class of the user's are in its fingerprint."""
    if isinstance(item, ExtensionSection):
        return {"kind": item.kind}
    return _built_in(item).identity()
