"""Code from checked-out repositories: one document a file, or several joined, imported files before their importers."""

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data_recipes.sections.inputs import RepositoriesInput
from pipelines.artifacts.documents import Document, draw_split
from pipelines.source.code.files import GO_MODULE, Code, File, add_to_digest, files_of, holds_code, read_code
from pipelines.source.code.imports import Index, Reference, references, resolve
from pipelines.source.code.language import LANGUAGES
from pipelines.source.code.licences import METADATA, is_licence_file, repository_licence, stated_licence
from pipelines.source.code.order import import_order
from pipelines.source.code.rules import UndecodableCodeError, decode
from pipelines.source.document_sink import DocumentSink
from pipelines.source.errors import InputError
from pipelines.source.io.input_folder import InputFolder
from pipelines.source.protocol import InputSplit

HeldoutUnit = Literal["repository", "file"]
BYTES_PER_SHARD = 64 * 2**20
"""Of files, after which a shard of repositories ends."""
JOINED_CHARACTERS = 2**20
"""After which a document of joined files ends."""


@dataclass(frozen=True)
class Checkout:
    """A repository's folder under its name, with the digest that it had when the run was planned."""

    name: str
    path: Path
    sha256: str


class Repositories(RepositoriesInput):
    """Repositories by name, several to a shard."""

    def fingerprint(self, folder: InputFolder) -> dict[str, Any]:
        """Digest and bytes of each repository by its name. Raises InputError."""
        unknown = sorted(set(self.languages) - LANGUAGES.keys())
        if unknown:
            raise InputError(
                f"languages has {unknown[0]!r}, which is not among: {', '.join(LANGUAGES)}. Take one of those."
            )
        roots = _repositories(self.paths, folder.path)
        return {"repositories": {name: _fingerprint(path, self.max_file_bytes) for name, path in roots.items()}}

    def splits(self, fingerprint: Mapping[str, Any], folder: InputFolder) -> Iterator[InputSplit]:
        """Splits of repositories by name, each of about BYTES_PER_SHARD."""
        roots = _repositories(self.paths, folder.path)
        checkouts: list[Checkout] = []
        held_bytes = 0
        for name, checkout in sorted(fingerprint["repositories"].items()):
            checkouts.append(Checkout(name, roots[name], checkout["sha256"]))
            held_bytes += checkout["bytes"]
            if held_bytes >= BYTES_PER_SHARD:
                yield InputSplit(self._group(checkouts))
                checkouts, held_bytes = [], 0
        if checkouts:
            yield InputSplit(self._group(checkouts))

    def _group(self, checkouts: Sequence[Checkout]) -> "RepositoryGroup":
        return RepositoryGroup(checkouts, self.languages, self.max_file_bytes, self.join_files, self.heldout_by)


@dataclass(frozen=True)
class RepositoryGroup:
    """Repositories that one shard reads."""

    checkouts: Sequence[Checkout]
    languages: Sequence[str]
    max_file_bytes: int
    join_files: bool
    heldout_by: HeldoutUnit

    def read(self, sink: DocumentSink) -> None:
        for checkout in self.checkouts:
            survey = _survey(checkout, self, sink)
            files = _in_order(checkout, survey)
            if self.join_files:
                documents = (_joined_document(checkout, group) for group in _groups(files))
            else:
                documents = (_file_document(checkout, file) for file in files)
            for document in documents:
                unit = document.url if self.heldout_by == "file" else f"repo:{checkout.name}"
                sink.write(replace(document, split=draw_split(unit, sink.heldout_fraction)))


@dataclass(frozen=True)
class OrderedFile:
    """A file to keep, with its position in the repository's order."""

    code: Code
    licence: str | None
    position: int


@dataclass
class Survey:
    """The result of a first reading of a repository, without its text: `languages` by path; `imported`, the references
    of each file."""

    languages: dict[str, str] = field(default_factory=dict)
    imported: dict[str, Sequence[Reference]] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    index: Index = field(default_factory=Index)


def _repositories(paths: Sequence[str], folder: Path) -> dict[str, Path]:
    """Folders of repositories by name, in order. Raises InputError."""
    roots: dict[str, Path] = {}
    for number, text in enumerate(paths, start=1):
        field = f"paths.{number} = {text!r}"
        for path in _checkouts(folder, text, field):
            first = roots.setdefault(path.name, path)
            if first.resolve() != path.resolve():
                raise InputError(
                    f"{field}: two repositories have the name {path.name!r} ({first} and {path}), by which their files "
                    "would be traced. Rename one folder."
                )
    return dict(sorted(roots.items()))


def _checkouts(folder: Path, text: str, field: str) -> list[Path]:
    """Repositories at a path or glob: a folder with `.git` or with code is one; in any other folder each subfolder is
    one."""
    if glob.has_magic(text):
        root = Path(Path(text).anchor)
        roots = [path for path in (folder / root).glob(str(Path(text).relative_to(root))) if path.is_dir()]
    else:
        roots = [path for path in [folder / text] if path.is_dir()]
    repositories = [
        repository
        for path in map(Path.absolute, roots)
        for repository in ([path] if (path / ".git").exists() or holds_code(path) else path.iterdir())
        if repository.is_dir() and not repository.name.startswith(".")
    ]
    if not repositories:
        raise InputError(
            f"{field}: no folder with repositories ({folder / text}). Correct the path, or check some out."
        )
    return repositories


def _fingerprint(root: Path, max_file_bytes: int) -> dict[str, Any]:
    digest, num_bytes = hashlib.sha256(), 0
    for file in files_of(root, max_file_bytes):
        add_to_digest(digest, file)
        num_bytes += len(file.content)
    return {"sha256": digest.hexdigest(), "bytes": num_bytes}


def _survey(checkout: Checkout, part: RepositoryGroup, sink: DocumentSink) -> Survey:
    """Read every file once: count the files that are passed over, record those to keep. Raises RuntimeError if files
    changed."""
    survey, digest, passed = Survey(), hashlib.sha256(), Counter[str]()
    for file in files_of(checkout.path, part.max_file_bytes):
        add_to_digest(digest, file)
        _note_about(file, survey)
        code = read_code(file)
        if isinstance(code, Code) and part.languages and code.language not in part.languages:
            code = "other_language"
        if isinstance(code, Code):
            _note_code(code, survey)
        elif code.startswith("unreadable"):
            sink.quarantine(_url(checkout, file.path).encode(errors="replace").decode(), code)
        else:
            passed[code] += 1
    if digest.hexdigest() != checkout.sha256:
        raise RuntimeError(f"{checkout.path}: changed since the run was planned. Start the run again.")
    for reason, count in sorted(passed.items()):
        sink.skip(reason, count)
    return survey


def _note_about(file: File, survey: Survey) -> None:
    """Licence files and metadata of the repository's root, and Go's modules."""
    name = file.path.rpartition("/")[2]
    if not file.reason and (name == GO_MODULE or file.path in METADATA or is_licence_file(file.path)):
        try:
            text = decode(file.content)
        except UndecodableCodeError:
            return  # it is counted when it is read as code
        if name == GO_MODULE:
            survey.index.add_go_module(file.path, text)
        else:
            survey.about[file.path] = text


def _note_code(code: Code, survey: Survey) -> None:
    survey.languages[code.path] = code.language
    survey.imported[code.path] = references(code.language, code.text)
    survey.index.add(code.path, code.language, code.text)
    if licence := stated_licence(code.text):
        survey.licences[code.path] = licence


def _in_order(checkout: Checkout, survey: Survey) -> Iterator[OrderedFile]:
    """The kept files, read again one by one, so that a repository need not fit into memory."""
    imports = {
        path: resolve(path, language, survey.imported[path], survey.index)
        for path, language in survey.languages.items()
    }
    licence = repository_licence(survey.about)
    for position, path in enumerate(import_order(imports)):
        text = decode((checkout.path / path).read_bytes())
        yield OrderedFile(Code(path, survey.languages[path], text), survey.licences.get(path, licence), position)


def _groups(files: Iterator[OrderedFile]) -> Iterator[list[OrderedFile]]:
    """Files that follow each other, up to JOINED_CHARACTERS; another licence starts a new group."""
    group: list[OrderedFile] = []
    size = 0
    for file in files:
        size += len(file.code.text)
        if group and (size > JOINED_CHARACTERS or file.licence != group[0].licence):
            yield group
            group, size = [], len(file.code.text)
        group.append(file)
    if group:
        yield group


def _file_document(checkout: Checkout, file: OrderedFile) -> Document:
    """One file as it is."""
    return Document(
        text=file.code.text,
        url=_url(checkout, file.code.path),
        origin=f"{checkout.name} {checkout.sha256[:16]}",
        licence=file.licence,
        extractor="repository",
        attributes=json.dumps(_attributes(checkout, file), ensure_ascii=False),
    )


def _joined_document(checkout: Checkout, group: Sequence[OrderedFile]) -> Document:
    """Several files, each under a line with its path; named and placed by the first."""
    attributes = {**_attributes(checkout, group[0]), "paths": [file.code.path for file in group]}
    text = "\n".join(f"<file {file.code.path}>\n{file.code.text}" for file in group)
    document = _file_document(checkout, group[0])
    return replace(document, text=text, attributes=json.dumps(attributes, ensure_ascii=False))


def _attributes(checkout: Checkout, file: OrderedFile) -> dict[str, Any]:
    return {
        "repository": checkout.name,
        "path": file.code.path,
        "language": file.code.language,
        "position": file.position,
    }


def _url(checkout: Checkout, path: str) -> str:
    return f"repo:{checkout.name}/{path}"
