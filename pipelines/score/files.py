"""The files that a recipe's [score] section names: fixed by their digests, read when a shard is scored."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.refining import BenchmarkSection, ScoreSection
from data_recipes.section import RecipeError
from infra.store import file_digest
from pipelines.artifacts.formats.line_lists import list_entries
from pipelines.artifacts.scores import SCORES
from pipelines.extension import find_all
from pipelines.score.benchmark_files import read_benchmark
from pipelines.score.own import DocumentScorer, ScorerError, own_fields
from pipelines.score.quality.classifier import load_classifier


def pin(section: ScoreSection, folder: Path) -> dict[str, Any]:
    """Digests of all files that `section` of a recipe in `folder` names, in its order. Raises RecipeError where one is
    missing or is not what it should be."""
    pins: dict[str, Any] = {}
    for field in ("url_lists", "word_lists"):
        pins[field] = [
            _pin(folder, path, f"score.{field}.{number}", _require_entries)
            for number, path in enumerate(getattr(section, field), start=1)
        ]
    load = partial(load_classifier, label=section.quality_label)
    pins["quality_model"] = (
        _pin(folder, section.quality_model, "score.quality_model", load) if section.quality_model else ""
    )
    pins["decontaminate"] = [
        _pin(folder, item.path, f"score.decontaminate.{number}.path", partial(_require_item, item))
        for number, item in enumerate(section.decontaminate, start=1)
    ]
    if section.scorers:
        extensions = find_all(section.scorers, DocumentScorer, folder, "score.scorers")
        pins["scorers"] = [extension.fingerprint() for extension in extensions]
        score_columns(section, folder)
    return pins


def score_columns(section: ScoreSection, folder: Path) -> list[str]:
    """Names of all scores that `section` of a recipe in `folder` measures. Raises RecipeError."""
    extensions = find_all(section.scorers, DocumentScorer, folder, "score.scorers")
    try:
        own = own_fields(extension.make() for extension in extensions)
    except ScorerError as error:
        raise RecipeError(f"score.scorers: {error}") from None
    return [*SCORES.names, *(field.name for field in own)]


def params(section: ScoreSection, pins: Mapping[str, Any]) -> dict[str, Any]:
    """What of `section` a key depends on: what the files contain, never where they lie."""
    plain = section.identity()
    del plain["scorers"]
    return {**plain, "pins": dict(pins)}


def pinned_file(folder: Path, path: str, digest: str) -> Path:
    """The file at `path`. Raises RuntimeError where it is not the one that was pinned."""
    found = folder / path
    if file_digest(found) != digest:
        raise RuntimeError(f"{found}: changed since the run was planned. Start the run again.")
    return found


def _pin(folder: Path, path: str, place: str, check: Callable[[Path], object]) -> str:
    found = folder / path
    if not found.is_file():
        raise RecipeError(f"{place} = {path!r}: no such file ({found}). Name one that is there.")
    try:
        check(found)
    except (ValueError, UnicodeDecodeError) as error:
        raise RecipeError(f"{place} = {path!r}: {error}") from None
    return file_digest(found)


def _require_entries(path: Path) -> None:
    if not list_entries(path.read_bytes()):
        raise ValueError("the list is empty. Write an entry a line, or name no list.")


def _require_item(item: BenchmarkSection, path: Path) -> None:
    if next(iter(read_benchmark(path, item)), None) is None:
        raise ValueError("no item with text. Name fields with text.")
