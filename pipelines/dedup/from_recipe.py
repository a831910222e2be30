"""Deduplication by the `[dedup]` section of a recipe, and the model that it names, which its digest fixes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from data_recipes import RecipeError
from data_recipes.schema import DedupSection
from pipelines.dedup.options import SemanticOptions

Fingerprints: TypeAlias = Mapping[str, str]
"""The digest of the embedding model by the name "semantic", if the section names one."""
LATER_OPTIONS = ("min_passage_words", "max_line_documents", "first_prompts", "semantic")
"""Fields that are younger than some results: the keys of those do not have them unless they are used."""


def fingerprint(section: DedupSection, folder: Path) -> Fingerprints:
    """The digest of the model that `section` of a recipe in `folder` names. Raises RecipeError if it cannot be used."""
    if section.semantic is None:
        return {}
    from pipelines.dedup.semantic.model import fingerprint_model

    try:
        return {"semantic": fingerprint_model(folder / section.semantic.model)}
    except ValueError as error:
        raise RecipeError(f"dedup.semantic.model = {section.semantic.model!r}: {error}") from None


def params(section: DedupSection, fingerprints: Fingerprints) -> dict[str, Any]:
    """The part of `section` that a key depends on: the content of the model, never its path."""
    plain = {
        name: value for name, value in section.identity().items() if getattr(section, name) or name not in LATER_OPTIONS
    }
    if section.semantic:
        plain["semantic"] = {**plain["semantic"], "digest": fingerprints["semantic"]}
    return plain


def semantic_options(section: DedupSection, fingerprints: Fingerprints, folder: Path) -> SemanticOptions | None:
    """The rules of deduplication by meaning, None without them."""
    if section.semantic is None:
        return None
    return SemanticOptions(folder / section.semantic.model, section.semantic.cosine_threshold, fingerprints["semantic"])


def packages(section: DedupSection, folder: Path) -> tuple[str, ...]:
    """Distributions that the stage needs, of those that not every installation has."""
    if section.semantic is None:
        return ()
    from pipelines.dedup.semantic.model import packages_of

    return packages_of(folder / section.semantic.model)
