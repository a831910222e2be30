"""`--set KEY=VALUE`: fields of a recipe, or of the corpora of a run, that are replaced before validation."""

import re
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from data_recipes.explain import did_you_mean
from data_recipes.section import RecipeError

CORPORA = "corpora."
"""Begins the key of a field of a corpus: `corpora.web.filter.min_words`."""
BARE_STRING = re.compile(r"[A-Za-z0-9_./~:@][^\s\"'\[\]{}=,#]*")
"""A value that is no TOML but plainly meant as a string, such as muon or data/web."""


def override(page: dict[str, Any], overrides: Sequence[str], path: Path) -> dict[str, Any]:
    """Replace fields of the page at `path` in place.

    Raises RecipeError if an override is not KEY=VALUE or its key leads to no field.
    """
    for text in overrides:
        dotted, value = _parse(text, path)
        node: Any = page
        *parents, leaf = dotted.split(".")
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(node, dict) else _item(node, part)
        if isinstance(node, dict):
            node[leaf] = value
        elif _item(node, leaf) is not None:
            node[int(leaf) - 1] = value
        else:
            raise RecipeError(
                f"{path}: --set {text!r}: {dotted} leads to no field. Lists count from 1, as phases.3.tokens."
            )
    return page


def _item(node: Any, number: str) -> Any:
    """The item of a list by its number from 1; None if there is none."""
    is_item = isinstance(node, list) and number.isdigit() and 0 < int(number) <= len(node)
    return node[int(number) - 1] if is_item else None


def of_corpora(overrides: Sequence[str]) -> list[str]:
    """The overrides of fields of a run's corpora; `corpora.1` is the run's own field.

    >>> of_corpora(["train.peak_lr=0.1", "corpora.web.filter.min_words=20", "corpora.1='web.toml'"])
    ['corpora.web.filter.min_words=20']
    """
    return [text for text in overrides if re.match(r"corpora\.(?!\d+\s*(?:=|$))[^.=]+.*\.", text.partition("=")[0])]


def without_corpora(overrides: Sequence[str]) -> list[str]:
    """All but the overrides of a run's corpora."""
    theirs = of_corpora(overrides)
    return [text for text in overrides if text not in theirs]


def of_corpus(name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides of one corpus, with keys as in its own recipe.

    >>> of_corpus("web", ["corpora.web.filter.min_words=20", "corpora.web.en.filter.min_words=30"])
    ['filter.min_words=20', 'en.filter.min_words=30']
    """
    prefix = f"{CORPORA}{name}."
    return [text.removeprefix(prefix) for text in overrides if text.startswith(prefix)]


def require_known_corpora(overrides: Sequence[str], names: Collection[str], path: Path) -> None:
    """Raise RecipeError if one of the overrides of corpora names none of `names`."""
    for text in overrides:
        if not any(text.startswith(f"{CORPORA}{name}.") for name in names):
            name = text.removeprefix(CORPORA).partition(".")[0]
            raise RecipeError(
                f"{path}: --set {text!r}: no corpus {name!r}. The corpora of this run are {', '.join(names)}. "
                f"{did_you_mean(name, names)}".rstrip()
            )


def _parse(text: str, path: Path) -> tuple[str, Any]:
    """Key and value: TOML, or a string without quotes."""
    dotted, separator, written = text.partition("=")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written.strip()
        if not BARE_STRING.fullmatch(value):
            separator = ""
    if not separator or not dotted.strip():
        raise RecipeError(
            f"{path}: --set {text!r} is not key.path=VALUE with VALUE in TOML, such as train.peak_lr=0.002, "
            'train.optimizer=muon or corpora.web.filter.languages=["en"].'
        )
    return dotted.strip(), value
