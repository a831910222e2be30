"""What a job needs of the working folder that is sent with it, besides code, and how much would be sent."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_recipes import CorpusRecipe, RecipeError, load_recipe, load_run
from data_recipes.lock import Lock
from infra.cluster.upload import Upload, UploadError, excludes, measure

MAGIC = "*?["
UPLOAD_TIMEOUT_S = 20.0
FITS, LARGE = "FITS", "LARGE"
MEASURE = """
import sys
from pathlib import Path
from pipelines.submission import upload_verdict
print(*upload_verdict(Path(sys.argv[1])))
"""


def needed_files(recipe: Path, overrides: Sequence[str], folder: Path) -> list[str]:
    """The recipe, and files and folders that it names, as far as they lie in `folder`: relative to it, sorted. Of a
    pattern such as `pages/*.warc.gz`, its folder. Raises RecipeError for a recipe that cannot be read."""
    named = {recipe.resolve()}
    for home, page in _pages(recipe, overrides):
        named |= {home / text for text in map(_before_magic, _texts(page)) if text}
    root = folder.resolve()
    inside = {path.resolve() for path in named if _exists(path)}
    return sorted(path.relative_to(root).as_posix() for path in inside if root in path.parents)


def measured_upload(folder: Path, timeout_s: float = UPLOAD_TIMEOUT_S) -> tuple[str, bool | None]:
    """What `arctic submit` would send of a folder, in words, and whether a head takes it; None if it was not measured.
    In a process of its own, since a walk of a huge tree can only be ended from outside."""
    command = [sys.executable, "-c", MEASURE, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"{folder}: not measured, listing its files took more than {timeout_s:g} s", None
    verdict, _, text = done.stdout.strip().partition(" ")
    if done.returncode or verdict not in (FITS, LARGE):
        return f"{folder}: not measured, {done.stderr.strip()[-300:]}", None
    return text, verdict == FITS


def upload_verdict(folder: Path) -> tuple[str, str]:
    """FITS or LARGE for a folder, and its size in words: with the data that one of its recipes names, of that recipe
    that names most."""
    upload, recipe = largest_upload(folder)
    counted = f"; with the data that {recipe} names" if recipe else ""
    try:
        upload.require_sendable()
    except UploadError as error:
        return LARGE, f"{error}{counted}"
    return FITS, f"{upload}{counted}"


def largest_upload(folder: Path) -> tuple[Upload, str]:
    """The most that `arctic submit` would send of a folder, and the recipe that names this data; "" if none does."""
    root = folder.resolve()
    plain = measure(root, excludes(root))
    uploads = {"": plain}
    for name in (name for name in plain.files if name.endswith(".toml")):
        try:
            needed = needed_files(root / name, [], root)
        except RecipeError:
            # A page of something else, such as pyproject.toml.
            continue
        if not plain.files.keys() >= set(needed):
            uploads[name] = measure(root, excludes(root, needed))
    recipe = max(uploads, key=lambda name: uploads[name].num_bytes)
    return uploads[recipe], recipe


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
