"""An existing tokenizer: checked before anything starts, pinned by its digest, copied byte for byte except for the
parts that make its ids random."""

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_recipes.schema import TokenizerSection
from data_recipes.section import RecipeError
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics, Stage
from infra.store import file_digest
from pipelines.artifacts.tokenization.token_bytes import has_byte_fallback, is_byte_level
from pipelines.artifacts.tokenization.tokenizer import (
    SAMPLING,
    TOKENIZER_FILE,
    read_tokenizer,
    vocab_size,
    write_config,
)
from pipelines.tokenize.probing import Change, changes, is_random, untried

SHOWN_CHARACTERS = 60


def fingerprint(section: TokenizerSection, folder: Path) -> dict[str, str]:
    """Plain data that fixes the tokenizer of a run recipe in `folder`: the digest of the file that it names, if any.

    Raises RecipeError if that file cannot be used.
    """
    if not section.path:
        return {}
    file = folder / section.path
    if not file.is_file():
        raise RecipeError(f"tokenizer.path = {section.path!r}: no such file. Name a tokenizer.json.")
    try:
        tokenizer = read_tokenizer(file)
    except ValueError as error:
        raise RecipeError(f"tokenizer.path = {section.path!r}: {error} Name a tokenizer.json.") from None
    for fault in _faults(tokenizer, section):
        raise RecipeError(f"tokenizer.{fault}")
    return {"tokenizer": file_digest(file)}


def existing_tokenizer_stage(section: TokenizerSection, fingerprints: Mapping[str, Any], folder: Path) -> Stage:
    """Take the tokenizer that `fingerprints` (from `fingerprint`) fix, at a path relative to `folder`. The path is not
    in the key."""
    params = {"end_token": section.end_token, **fingerprints}
    return Stage("tokenizer", "", 3, params, {}, partial(_take, section, fingerprints, folder))


def _take(
    section: TokenizerSection,
    fingerprints: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - it needs no corpus
) -> Metrics:
    file = context.out / TOKENIZER_FILE
    shutil.copyfile(folder / section.path, file)
    if file_digest(file) != fingerprints["tokenizer"]:
        raise ValueError(f"tokenizer.path = {section.path!r} changed while the run was starting. Start it again.")
    if sampling := _switch_off_sampling(file):
        context.warn(
            f"tokenizer.path = {section.path!r} encodes at random ({sampling}), so a text has other ids each time. "
            "That is switched off in this run and in its checkpoints."
        )
    tokenizer = read_tokenizer(file)
    if changes(tokenizer):
        context.warn(
            f"tokenizer.path = {section.path!r} normalises text before it encodes it, so tokens do not give every "
            "document back exactly."
        )
    write_config(tokenizer, section.end_token, context.out)
    return {"data/vocab_size": vocab_size(tokenizer)}


def _faults(tokenizer: Tokenizer, section: TokenizerSection) -> Iterator[str]:
    """Field, value and remedy of each obstacle to using it."""
    added = tokenizer.get_added_tokens_decoder().values()
    special = sorted(token.content for token in added if token.special)
    if section.end_token not in special:
        special_tokens = ", ".join(special) or "none"
        yield f"end_token = {section.end_token!r}: not a special token of {section.path}. It has {special_tokens}."
    if vocab_size(tokenizer) > section.vocab_size:
        size = vocab_size(tokenizer)
        yield f"vocab_size = {section.vocab_size}: {section.path} has ids up to {size - 1}. Set {size} or more."
    if not is_byte_level(tokenizer) and not has_byte_fallback(tokenizer):
        yield (
            f"path = {section.path!r}: neither byte-level nor with byte fallback, so some text has no ids and bits per "
            "byte cannot be counted. Take one that is."
        )
        return
    if is_random(tokenizer):
        yield f"path = {section.path!r}: gives a text other ids each time. Take one that gives it the same."
    for pattern in untried(tokenizer)[:1]:
        yield (
            f"path = {section.path!r}: replaces or removes text that matches {_shown(pattern)}, and none of the texts "
            "that were tried does, so nobody knows what it loses. Take one without that part."
        )
        return
    # Unicode-equivalent text is accepted with a warning: many tokenizers compose letters and accents.
    changed = [change for change in changes(tokenizer) if not _is_tolerated(change, tokenizer)]
    for text, returned in sorted(changed, key=lambda change: len(change.text))[:1]:
        yield (
            f"path = {section.path!r}: does not give text back exactly: {_shown(text)} comes back as "
            f"{_shown(returned)}. Take one that does, without added tokens that strip blanks (lstrip, rstrip) and "
            "without a normalizer that removes or replaces characters."
        )


def _is_tolerated(change: Change, tokenizer: Tokenizer) -> bool:
    return change.is_canonical or (change.is_of_sentencepiece and not is_byte_level(tokenizer))


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")


def _switch_off_sampling(file: Path) -> str:
    """Write `file` again without the parts that make its encoding random; returns their description, "" if there are
    none."""
    content = json.loads(file.read_text(encoding="utf-8"))
    sampling = {name: value for name in SAMPLING if (value := content["model"].get(name))}
    if sampling:
        content["model"] |= dict.fromkeys(sampling)
        file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return ", ".join(f"{name} {value}" for name, value in sampling.items())
