"""The fingerprint of the [filter] section of a recipe: digests of the lists that it names, and the user's own rules."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_recipes import RecipeError
from data_recipes.sections.refining import FilterSection
from infra.store import file_digest
from pipelines.artifacts.formats.urls import READING_VERSION
from pipelines.artifacts.scores import SCORES
from pipelines.extension import find_all
from pipelines.filter.own import FilterRule, RuleError, require_columns
from pipelines.filter.rules import DOCUMENT_COLUMNS
from pipelines.filter.takedown import Takedown, read_lines


def fingerprint(section: FilterSection, folder: Path, scores: Sequence[str] = SCORES.names) -> dict[str, Any]:
    """The fingerprint of the files and rules that `section` of a recipe in `folder` names; the rules may read `scores`.

    Raises RecipeError if a file is missing or has a line that names nothing, or if a rule cannot be used.
    """
    fingerprints: dict[str, Any] = {
        "takedown": [_fingerprint(path, number, folder) for number, path in enumerate(section.takedown, 1)]
    }
    if section.takedown:
        fingerprints["url_reading"] = READING_VERSION
    if section.rules:
        extensions = find_all(section.rules, FilterRule, folder, "filter.rules")
        try:
            require_columns([rule.make() for rule in extensions], [*scores, *DOCUMENT_COLUMNS])
        except RuleError as error:
            raise RecipeError(f"filter.rules: {error}") from None
        fingerprints["rules"] = [rule.fingerprint() for rule in extensions]
    return fingerprints


def load_takedown(section: FilterSection, fingerprints: Mapping[str, Any], folder: Path) -> Takedown:
    """The entries of the files of `section`. Raises RuntimeError if a file has changed since its fingerprint was
    taken."""
    lines: list[str] = []
    for path, digest in zip(section.takedown, fingerprints["takedown"], strict=True):
        if file_digest(folder / path) != digest:
            raise RuntimeError(f"{folder / path}: changed since the run was planned. Start the run again.")
        lines += read_lines(folder / path)
    return Takedown.of(lines)


def _fingerprint(path: str, number: int, folder: Path) -> str:
    field = f"filter.takedown.{number} = {path!r}"
    file = folder / path
    if not file.is_file():
        raise RecipeError(f"{field}: no such file ({file}). Name one that is there.")
    try:
        Takedown.of(read_lines(file), str(file))
    except ValueError as error:
        raise RecipeError(f"{field}: {error}") from None
    return file_digest(file)
