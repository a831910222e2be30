"""A tokenizer that exists: checked before anything starts, pinned by its digest, taken byte for byte."""

import json
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from data_recipes.schema import TokenizerSection
from data_recipes.section import RecipeError
from infra.context import StageContext
from infra.stage import Metrics, Stage
from infra.store import Artifact, file_digest
from pipelines.artifacts.tokenizer import TOKENIZER_FILE, read_tokenizer, vocab_size, write_config

CODE_POINTS = [*range(0x800), *range(0x800, 0xD800, 0x400), *range(0xE000, 0x110000, 0x8000)]
PROBE = unicodedata.normalize("NFC", "".join(map(chr, CODE_POINTS)))
"""A text with every byte that UTF-8 can have."""
DECOMPOSED = "e\u0301"


def pin(section: TokenizerSection, folder: Path) -> dict[str, str]:
    """Plain data that fixes the tokenizer of a run recipe in `folder`: the digest of the file that it names, if any.

    Raises RecipeError where that file cannot be used.
    """
    if not section.path:
        return {}
    file = folder / section.path
    if not file.is_file():
        raise RecipeError(f"{folder}: tokenizer.path = {section.path!r}: no such file. Name a tokenizer.json.")
    try:
        tokenizer = read_tokenizer(file)
    except ValueError as error:
        raise RecipeError(f"{folder}: tokenizer.path: {error} Name a tokenizer.json.") from None
    for fault in _faults(tokenizer, section):
        raise RecipeError(f"{folder}: tokenizer.{fault}")
    return {"tokenizer": file_digest(file)}


def existing_tokenizer_stage(section: TokenizerSection, pins: Mapping[str, Any], folder: Path) -> Stage:
    """Take the tokenizer that `pins` (from `pin`) fix, at a path relative to `folder`. The path is not in the key."""
    params = {"end_token": section.end_token, **pins}
    return Stage("tokenizer", "", 2, params, {}, partial(_take, section, pins, folder))


def _take(
    section: TokenizerSection,
    pins: Mapping[str, Any],
    folder: Path,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - it needs no corpus
) -> Metrics:
    file = context.out / TOKENIZER_FILE
    shutil.copyfile(folder / section.path, file)
    if file_digest(file) != pins["tokenizer"]:
        raise ValueError(f"tokenizer.path = {section.path!r} changed while the run was starting. Start it again.")
    tokenizer = read_tokenizer(file)
    if _round_trip(tokenizer, DECOMPOSED) != DECOMPOSED:
        context.warn(
            f"tokenizer.path = {section.path!r} normalises text before it encodes it, so tokens do not give every "
            "document back exactly."
        )
    write_config(tokenizer, section.end_token, context.out)
    return {"data/vocab_size": vocab_size(tokenizer)}


def _faults(tokenizer: Tokenizer, section: TokenizerSection) -> Iterator[str]:
    """Field, value and mend of what keeps it from being used."""
    added = tokenizer.get_added_tokens_decoder().values()
    special = sorted(token.content for token in added if token.special)
    if section.end_token not in special:
        known = ", ".join(special) or "none"
        yield f"end_token = {section.end_token!r}: not a special token of {section.path}. It has {known}."
    if vocab_size(tokenizer) > section.vocab_size:
        size = vocab_size(tokenizer)
        yield f"vocab_size = {section.vocab_size}: {section.path} has ids up to {size - 1}. Set {size} or more."
    # Added tokens are matched in text too, and the library decodes some that are not ASCII wrongly.
    probe = PROBE + "".join(token.content for token in added if not token.special)
    if "ByteLevel" not in json.dumps(json.loads(tokenizer.to_str())["decoder"]):
        yield f"path = {section.path!r}: not a byte-level tokenizer, so bits per byte cannot be told. Take one that is."
    elif _round_trip(tokenizer, probe) != probe:
        yield f"path = {section.path!r}: does not give text back exactly. Take one that does."


def _round_trip(tokenizer: Tokenizer, text: str) -> str:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return str(tokenizer.decode(ids, skip_special_tokens=True))
