"""Scores by the `[score]` section of a recipe, and the files that it names, which their digests fix."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_recipes.section import RecipeError
from data_recipes.sections.refining import BenchmarkSection, ScoreSection
from infra.stage import canonical_json
from infra.store import file_digest
from pipelines.artifacts.documents import Document
from pipelines.artifacts.formats.line_lists import list_entries
from pipelines.artifacts.formats.urls import READING_VERSION
from pipelines.artifacts.scores import SCORES
from pipelines.errors import require_encodable
from pipelines.extension import find_all, restore
from pipelines.score.benchmark_files import read_benchmark
from pipelines.score.contamination import build_index
from pipelines.score.own import DocumentScorer, ScorerError, own_fields, own_scores
from pipelines.score.quality.classifier import load_classifier
from pipelines.score.safety.lists import UrlList, WordList
from pipelines.score.scorer import Scorer


def fingerprint(section: ScoreSection, folder: Path) -> dict[str, Any]:
    """Digests of all files that `section` of a recipe in `folder` names, in its order. Raises RecipeError if one is
    missing or invalid."""
    fingerprints: dict[str, Any] = {}
    for field, check in (("url_lists", _require_urls), ("word_lists", _entries)):
        fingerprints[field] = [
            _fingerprint(folder, path, f"score.{field}.{number}", check)
            for number, path in enumerate(getattr(section, field), start=1)
        ]
    if section.url_lists:
        fingerprints["url_reading"] = READING_VERSION
    load = partial(load_classifier, label=section.quality_label)
    fingerprints["quality_model"] = (
        _fingerprint(folder, section.quality_model, "score.quality_model", load) if section.quality_model else ""
    )
    fingerprints["decontaminate"] = [
        _fingerprint(folder, item.path, f"score.decontaminate.{number}.path", partial(_require_item, item))
        for number, item in enumerate(section.decontaminate, start=1)
    ]
    if section.scorers:
        extensions = find_all(section.scorers, DocumentScorer, folder, "score.scorers")
        fingerprints["scorers"] = [extension.fingerprint() for extension in extensions]
        score_columns(section, folder)
    return fingerprints


def score_columns(section: ScoreSection, folder: Path) -> list[pa.Field]:
    """All scores that `section` of a recipe in `folder` measures. Raises RecipeError."""
    extensions = find_all(section.scorers, DocumentScorer, folder, "score.scorers")
    try:
        return [*SCORES, *own_fields(extension.make() for extension in extensions)]
    except ScorerError as error:
        raise RecipeError(f"score.scorers: {error}") from None


def params(section: ScoreSection, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `section` that a key depends on: the content of the files, never their paths."""
    plain = section.identity()
    del plain["scorers"]
    return {**plain, "fingerprints": dict(fingerprints)}


def score_documents(
    documents: Iterable[str | Document], section: ScoreSection | None = None, folder: Path | str = "."
) -> pa.Table:
    """Measure documents as the stage `score` does: language, quality signals, personal data, contamination.

    Args:
        documents: Texts, or documents as `read_documents` gives them; one row of the result each, in order.
        section: The fields of `[score]` of a corpus recipe. Default: those of a recipe without that section.
        folder: Folder of the relative paths in `section`.

    Returns:
        A table with the columns of `pipelines.artifacts.scores.SCORES`, then those of your own scorers.

    Raises:
        RecipeError: A file of `section` is missing or invalid.
        OptionError: A text or URL has lone surrogates.

    Example:
        >>> from pipelines import score_documents
        >>> text = "The river rose in the night, and the people went to see it. Write to a@gmail.com."
        >>> table = score_documents([text])
        >>> table.select(["language", "words", "stop_words", "pii_email"]).to_pylist()
        [{'language': 'en', 'words': 16, 'stop_words': 3, 'pii_email': 1}]
    """
    section, folder = section or ScoreSection(), Path(folder)
    scorer = load_scorer(section, fingerprint(section, folder), folder)
    rows = []
    for number, each in enumerate(documents, start=1):
        document = each if isinstance(each, Document) else Document(each, url="", origin="")
        for name in ("text", "url", "origin"):
            require_encodable(getattr(document, name), f"document {number}, {name}")
        scores = scorer.score(document.text, document.url, document.opt_out).row
        rows.append({"doc_id": document.doc_id, **scores, **own_scores(scorer.own, document)})
    return pa.Table.from_pylist(rows, schema=pa.schema([*SCORES, *own_fields(scorer.own)]))


def load_scorer(section: ScoreSection, fingerprints: Mapping[str, Any], folder: Path) -> Scorer:
    """The scorer of `section`; its files lie relative to `folder`. Cached for the next shard of this process."""
    return _load(canonical_json(section.as_params()), canonical_json(fingerprints), folder)


@lru_cache(maxsize=1)
def _load(section_json: str, fingerprints_json: str, folder: Path) -> Scorer:
    section, fingerprints = ScoreSection.model_validate_json(section_json), json.loads(fingerprints_json)

    def listed(field: str) -> list[str]:
        files = zip(getattr(section, field), fingerprints[field], strict=True)
        contents = [pinned_file(folder, path, digest).read_bytes() for path, digest in files]
        return [entry for content in contents for entry in list_entries(content)]

    quality = None
    if section.quality_model:
        file = pinned_file(folder, section.quality_model, fingerprints["quality_model"])
        quality = load_classifier(file, section.quality_label)
    return Scorer(
        UrlList.of(listed("url_lists")),
        WordList.of(listed("word_lists")),
        section.arbitrate_language,
        tuple(section.phone_regions),
        quality,
        build_index(
            (item.name, *text)
            for item, digest in zip(section.decontaminate, fingerprints["decontaminate"], strict=True)
            for text in read_benchmark(pinned_file(folder, item.path, digest), item.fields)
        ),
        tuple(extension.make() for extension in restore(section.scorers, fingerprints.get("scorers", ()), folder)),
    )


def pinned_file(folder: Path, path: str, digest: str) -> Path:
    """The file at `path`. Raises RuntimeError if it has changed since its fingerprint was taken."""
    file = folder / path
    if file_digest(file) != digest:
        raise RuntimeError(f"{file}: changed since the run was planned. Start the run again.")
    return file


def _fingerprint(folder: Path, path: str, field: str, check: Callable[[Path], object]) -> str:
    file = folder / path
    if not file.is_file():
        raise RecipeError(f"{field} = {path!r}: no such file ({file}). Name one that is there.")
    try:
        check(file)
    except (ValueError, UnicodeDecodeError) as error:
        raise RecipeError(f"{field} = {path!r}: {error}") from None
    return file_digest(file)


def _require_urls(path: Path) -> None:
    UrlList.of(_entries(path))


def _entries(path: Path) -> list[str]:
    entries = list_entries(path.read_bytes())
    if not entries:
        raise ValueError("the list is empty. Write an entry a line, or name no list.")
    return entries


def _require_item(item: BenchmarkSection, path: Path) -> None:
    if next(iter(read_benchmark(path, item.fields)), None) is None:
        raise ValueError("no item with text. Name fields with text.")
