"""`.py` files on this machine: the standard library's and those of installed distributions."""

import json
import platform
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path, PurePath
from typing import Any

from data_recipes.sections.inputs import PythonSourcesInput
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.document_sink import DocumentSink
from pipelines.source.errors import InputError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit
from pipelines.source.python.packages import licence, package_url, text_digest
from pipelines.source.python.standard_library import fingerprint_library, library_files, standard_library

PYTHON_LICENCE = "Python-2.0"
"""SPDX id of the Python Software Foundation's licence stack, which covers the standard library."""
TEST_FOLDERS = {"test", "tests", "testing", "_test", "_tests", "_testing", "testdata"}
FILES_PER_SHARD = 256


@dataclass(frozen=True)
class SourceFile:
    """One `.py` file and its package; `url` is a package URL (purl) with the file as its subpath."""

    path: Path
    url: str
    origin: str
    licence: str | None


@dataclass(frozen=True)
class SourceFiles:
    """Python files; those larger than `max_file_bytes` are passed over."""

    files: Sequence[SourceFile]
    max_file_bytes: int

    def read(self, sink: DocumentSink) -> None:
        for file in self.files:
            if file.path.stat().st_size > self.max_file_bytes:
                sink.skip("too_large")
                continue
            try:
                document = read_source(file, sink.heldout_fraction)
            except (SyntaxError, UnicodeDecodeError) as error:
                sink.quarantine(file.url, f"undecodable text: {error}")
                continue
            if document.text.strip():
                sink.write(document)
            else:
                sink.skip("no_text")


class PythonSources(PythonSourcesInput):
    """The standard library's files first, then those of `distributions`."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:  # noqa: ARG002 - lies in no folder
        """Fingerprints of the standard library and each distribution. Raises InputError."""
        library = {"library": fingerprint_library()} if self.standard_library else {}
        return {**library, "sources": {name: fingerprint_sources(name) for name in self.distributions}}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:  # noqa: ARG002
        files = library_sources() if self.standard_library else []
        files += [file for name in self.distributions for file in distribution_sources(name)]
        for start in range(0, len(files), FILES_PER_SHARD):
            yield InputSplit(SourceFiles(files[start : start + FILES_PER_SHARD], self.max_file_bytes))


def library_sources() -> list[SourceFile]:
    """The standard library's files."""
    root, version = standard_library(), platform.python_version()
    return [
        SourceFile(file, f"pkg:generic/python@{version}#{relative}", f"python {version}", PYTHON_LICENCE)
        for file in library_files()
        if _is_product(relative := file.relative_to(root).as_posix())
    ]


def distribution_sources(name: str) -> list[SourceFile]:
    """The `.py` files of an installed distribution. Raises InputError."""
    owner = _installed(name)
    url, origin, terms = package_url(owner), f"{name} {owner.version}", licence(owner)
    return [
        SourceFile(Path(str(file.locate())), f"{url}#{file.as_posix()}", origin, terms) for file in _python_files(owner)
    ]


def fingerprint_sources(name: str) -> str:
    """Version of a distribution and a digest over its `.py` files as RECORD has them. Raises InputError."""
    installed = _installed(name)
    lines = [f"{file.as_posix()} {file.hash.value if file.hash else ''}" for file in _python_files(installed)]
    return f"{installed.version} {text_digest(json.dumps(lines))}"


def read_source(file: SourceFile, heldout_fraction: float) -> Document:
    """A source file as a document, decoded by its own coding line (PEP 263). Raises SyntaxError, UnicodeDecodeError."""
    with tokenize.open(file.path) as lines:
        text = lines.read()
    split = draw_split(file.url, heldout_fraction)
    return Document(text, file.url, file.origin, split, licence=file.licence, extractor="python")


def _installed(name: str) -> Distribution:
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise InputError(
            f"distributions has {name!r}, which is not installed in this environment. Install it or take it out."
        ) from None
    if installed.files is None:
        raise InputError(f"distributions has {name!r}, whose list of files (RECORD) is missing. Install it again.")
    return installed


def _python_files(installed: Distribution) -> list[PackagePath]:
    # The importlib_metadata package, which other libraries bring in and which then answers instead of the standard
    # library, leaves files out that do not exist; both must name the same ones.
    files = (file for file in installed.files or () if file.suffix == ".py" and Path(str(file.locate())).is_file())
    return sorted((file for file in files if ".." not in file.parts and _is_product(file.as_posix())), key=str)


def _is_product(path: str) -> bool:
    """Whether a file is part of a package's product, not of its tests."""
    *folders, name = PurePath(path).parts
    return TEST_FOLDERS.isdisjoint(folders) and not name.startswith("test_") and name != "conftest.py"
