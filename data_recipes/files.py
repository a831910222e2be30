"""The files that a recipe names: those that a job needs of the folder that is sent with it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_recipes.load import load_recipe, load_run
from data_recipes.lock import Lock
from data_recipes.schema import CorpusRecipe
from data_recipes.section import CLASS_NAME

MAGIC = "*?["


def needed_files(recipe: Path, overrides: Sequence[str], folder: Path) -> list[str]:
    """The recipe, and files and folders that it names, as far as they lie in `folder`: relative to it, sorted. Of a
    pattern such as `pages/*.warc.gz`, its folder; of a class of the user's own, its module and the package around it.
    Raises RecipeError for a recipe that cannot be read."""
    named = {recipe.resolve()}
    for home, page in _pages(recipe, overrides):
        named |= {home / text for text in map(_before_magic, _texts(page)) if text}
        named |= {start / file for text in _texts(page) for file in _module_files(text) for start in (home, folder)}
    root = folder.resolve()
    inside = {path.resolve() for path in named if _exists(path)}
    return sorted(path.relative_to(root).as_posix() for path in inside if root in path.parents)


def _pages(recipe: Path, overrides: Sequence[str]) -> Iterator[tuple[Path, Any]]:
    """The recipe and those of its corpora, each with the folder that its paths start from."""
    if recipe.suffix == ".json":
        page = Lock.from_json(recipe.read_text(encoding="utf-8"), recipe).as_plain()
        yield from ((Path(home), page) for home in page["folders"].values())
        return
    loaded = load_recipe(recipe, overrides)
    yield recipe.parent, loaded.as_params()
    if not isinstance(loaded, CorpusRecipe):
        for path, corpus in load_run(recipe, overrides)[1].values():
            yield path.parent, corpus.as_params()


def _texts(value: Any) -> Iterator[str]:
    """Every string in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _module_files(text: str) -> Iterator[str]:
    """Possible files of the module of the class "package.module:Class", and its package; nothing of other texts."""
    if re.fullmatch(CLASS_NAME, text):
        module = text.partition(":")[0].replace(".", "/")
        yield from (f"{module}.py", f"{module}/__init__.py")
        if "/" in module:
            yield module.partition("/")[0]


def _before_magic(text: str) -> str:
    """`pages` of `pages/*.gz`; a text without a wildcard as it is."""
    first = min((text.find(mark) for mark in MAGIC if mark in text), default=len(text))
    return text if first == len(text) else text[:first].rpartition("/")[0]


def _exists(path: Path) -> bool:
    """Not every text of a recipe is a path, and some cannot be one."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
