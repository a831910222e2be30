"""Text that stands on this machine anyway: long descriptions and sources of installed distributions, and the standard
library's sources, with the licence from their metadata."""

import hashlib
import json
import platform
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution, distributions
from pathlib import Path, PurePath

from data_recipes import RecipeError
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.pydoc_pages import library_files, standard_library

PYTHON_LICENCE = "Python-2.0"
"""SPDX id of the Python Software Foundation's licence stack, which covers the standard library."""
THIS_PROJECT = "arctic-pretraining"
"""Left out of the descriptions: a corpus that read this project's own README would change with it."""
TEST_FOLDERS = {"test", "tests", "testing", "_test", "_tests", "_testing", "testdata"}


@dataclass(frozen=True)
class SourceFile:
    """One `.py` file and where it belongs; `url` is a package URL (purl) with the file as its subpath."""

    path: Path
    url: str
    origin: str
    licence: str | None


def installed_distributions() -> list[str]:
    """Names of the distributions that bring a long description, each once, in order."""
    return sorted({_normal(found.name) for found in distributions() if _description(found)} - {THIS_PROJECT})


def pin_library() -> dict[str, str]:
    """Python's version and a digest over the standard library's files."""
    digest = hashlib.sha256()
    for file in library_files():
        digest.update(f"{file.relative_to(standard_library()).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return {"python": platform.python_version(), "sha256": digest.hexdigest()}


def pin_descriptions(names: Sequence[str]) -> dict[str, str]:
    """Version and digest of the long description, by distribution."""
    found = {name: distribution(name) for name in names}
    return {name: f"{each.version} {_sha256(_description(each))}" for name, each in found.items()}


def pin_sources(name: str) -> str:
    """Version of a distribution and a digest over its `.py` files as RECORD has them. Raises RecipeError."""
    found = _installed(name)
    lines = [f"{file.as_posix()} {file.hash.value if file.hash else ''}" for file in _python_files(found)]
    return f"{found.version} {_sha256(json.dumps(lines))}"


def describe(name: str, heldout_fraction: float) -> Document:
    """The long description of an installed distribution."""
    found = distribution(name)
    url = _package_url(found)
    return Document(
        text=_description(found),
        url=url,
        origin=f"{name} {found.version}",
        split=draw_split(url, heldout_fraction),
        licence=licence(found),
        extractor="metadata",
    )


def library_sources() -> list[SourceFile]:
    """The standard library's files."""
    root, version = standard_library(), platform.python_version()
    return [
        SourceFile(file, f"pkg:generic/python@{version}#{place}", f"python {version}", PYTHON_LICENCE)
        for file in library_files()
        if _is_product(place := file.relative_to(root).as_posix())
    ]


def distribution_sources(name: str) -> list[SourceFile]:
    """The `.py` files of an installed distribution. Raises RecipeError."""
    found = _installed(name)
    url, origin, terms = _package_url(found), f"{name} {found.version}", licence(found)
    return [
        SourceFile(Path(str(file.locate())), f"{url}#{file.as_posix()}", origin, terms) for file in _python_files(found)
    ]


def read_source(file: SourceFile, heldout_fraction: float) -> Document:
    """A source file as a document, decoded by its own coding line (PEP 263). Raises SyntaxError, UnicodeDecodeError."""
    with tokenize.open(file.path) as lines:
        text = lines.read()
    split = draw_split(file.url, heldout_fraction)
    return Document(text, file.url, file.origin, split, licence=file.licence, extractor="python")


def licence(found: Distribution) -> str | None:
    """SPDX expression, else the licence classifier, else the first line of the free text, else None (PEP 639)."""
    if expression := _fields(found, "License-Expression"):
        return expression[0]
    classifiers = [line for line in _fields(found, "Classifier") if line.startswith("License :: ")]
    if classifiers:
        return " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)
    return next(
        (line.strip() for text in _fields(found, "License") for line in text.splitlines() if line.strip()), None
    )


def _fields(found: Distribution, name: str) -> list[str]:
    return [str(value) for value in found.metadata.get_all(name) or []]


def _installed(name: str) -> Distribution:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise RecipeError(
            f"distributions has {name!r}, which is not installed in this environment. Install it or take it out."
        ) from None
    if found.files is None:
        raise RecipeError(f"distributions has {name!r}, whose list of files (RECORD) is missing. Install it again.")
    return found


def _python_files(found: Distribution) -> list[PackagePath]:
    # The importlib_metadata package, which other libraries bring in and which then answers instead of the standard
    # library, leaves files out that do not exist; both must name the same ones.
    files = (file for file in found.files or () if file.suffix == ".py" and Path(str(file.locate())).is_file())
    return sorted((file for file in files if ".." not in file.parts and _is_product(file.as_posix())), key=str)


def _is_product(place: str) -> bool:
    """Whether a file is part of what a package does, not of its tests."""
    *folders, name = PurePath(place).parts
    return TEST_FOLDERS.isdisjoint(folders) and not name.startswith("test_") and name != "conftest.py"


def _description(found: Distribution) -> str:
    return "\n".join(_fields(found, "Description")).strip()


def _package_url(found: Distribution) -> str:
    return f"pkg:pypi/{_normal(found.name)}@{found.version}"


def _normal(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
