"""Locations that a recipe names, their files, and copies of the files on this machine's disk.

A location is a path, a folder or a glob on this machine, an `http(s)://` URL, or a path, folder or glob in an object
store (`s3://`, `gs://`, `az://`) or a dataset repository (`hf://datasets/`). The fingerprint of a file's content: its
sha256 on this machine; ETag, else time of change, and size over HTTP and in an object store; blob id and size on the
Hub.
"""

import hashlib
import json
import tempfile
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from infra.host.masking import MASK, masked
from infra.store import file_digest
from pipelines.source.document_sink import DocumentSink
from pipelines.source.errors import InputError
from pipelines.source.io import http_client, hub, object_stores
from pipelines.source.io.http_client import ChangedError, HttpError, Version
from pipelines.source.io.local_files import FileType, LocalFile, local_files, stand_in
from pipelines.source.io.remote_file import StoreReadError, copy_name

STORES: Mapping[str, Callable[[str, Callable[[str], bool], str], Sequence["LocatedFile"]]] = {
    **dict.fromkeys(object_stores.SCHEMES, object_stores.list_files),
    "hf": hub.list_files,
}
"""Lists the files at an address, by its scheme."""


class LocatedFile(Protocol):
    """A file somewhere. `name` is the name in the provenance of documents: the file's own on this machine, its path
    elsewhere."""

    @property
    def name(self) -> str: ...

    def named(self, name: str) -> "LocatedFile":
        """The same file, traced by another name."""

    def longer_names(self) -> Iterator[str]:
        """Longer names that distinguish it from others of its name, each with more of its path."""

    def fingerprint(self) -> Any:
        """Plain data that fixes the content. Raises InputError if the file cannot be reached."""

    def fetch(self, fingerprint: Any, folder: Path) -> Path:
        """The file on this machine's disk, copied into `folder` if it is elsewhere.

        Raises ChangedError if it has another fingerprint, HttpError or StoreReadError if it cannot be downloaded.
        """


@dataclass(frozen=True)
class WebFile:
    """A file behind a URL."""

    url: str
    name: str

    def named(self, name: str) -> "WebFile":
        return replace(self, name=name)

    def longer_names(self) -> Iterator[str]:
        return iter(())

    def fingerprint(self) -> dict[str, Any]:
        try:
            return asdict(http_client.PLANNING_CLIENT.version(self.url))
        except HttpError as error:
            raise InputError(
                f"paths: {error}. Correct the URL, or bring its host within reach of this machine."
            ) from None

    def fetch(self, fingerprint: Mapping[str, Any] | None, folder: Path) -> Path:
        copy = folder / copy_name(self.name)
        http_client.CLIENT.download(self.url, copy, Version(**fingerprint) if fingerprint else None)
        return copy


@dataclass
class Names:
    """Names by which the files of one recipe are traced."""

    used: list[str] = field(default_factory=list)
    files: set[Any] = field(default_factory=set)

    def give(self, files: Sequence[LocatedFile]) -> list[LocatedFile]:
        """`files` with unique names: the short name, with more of the path if another file has the same, as far as that
        goes. Raises InputError if an earlier input has one of them too."""
        for file in files:
            if _identity(file) in self.files:
                raise InputError(f"paths: {file.name} belongs to an earlier input too. Take it out of one of the two.")
        self.files.update(map(_identity, files))
        names = self._lengthened(files)
        self.used += names
        return [file.named(name) for file, name in zip(files, names, strict=True)]

    def _lengthened(self, files: Sequence[LocatedFile]) -> list[str]:
        names, taken = [file.name for file in files], set(self.used)
        longer = [file.longer_names() for file in files]
        is_longer = True
        while is_longer:
            counts, is_longer = Counter(names), False
            for index, name in enumerate(names):
                if (counts[name] > 1 or name in taken) and (other := next(longer[index], None)):
                    names[index], is_longer = other, True
        return names


def find_files(paths: Sequence[str], folder: Path, file_type: FileType) -> list[LocatedFile]:
    """The files at the locations `paths` of a recipe in `folder`, each once, by name. Raises InputError."""
    files: dict[Any, LocatedFile] = {}
    for number, address in enumerate(paths, start=1):
        for file in _files_at(address, folder, file_type, f"paths.{number} = {masked(address)!r}"):
            files.setdefault(_identity(file), file)
    return sorted(files.values(), key=lambda file: (file.name, *islice(file.longer_names(), 1)))


def fingerprint_files(files: Sequence[LocatedFile], names: Names) -> dict[str, Any]:
    """Fingerprints of the content of each file, by its unique name. Raises InputError."""
    return {file.name: file.fingerprint() for file in names.give(files)}


def fingerprinted_files(
    paths: Sequence[str], folder: Path, file_type: FileType, fingerprint: Mapping[str, Any]
) -> Iterator[tuple[LocatedFile, Any]]:
    """The fingerprinted files at the locations with their fingerprints, by name; files that came later are left out.

    Raises ChangedError if one is gone.
    """
    claims: dict[str, list[LocatedFile]] = {}
    for file in find_files(paths, folder, file_type):
        names = [name for name in (file.name, *file.longer_names()) if name in fingerprint]
        if names:
            claims.setdefault(names[-1], []).append(file)
    for name in sorted(fingerprint):
        files = claims.get(name, [])
        if len(files) > 1:
            files = [file for file in files if file.fingerprint() == fingerprint[name]]
        if not files:
            raise ChangedError(f"{folder}: paths: {name} is gone since the run was planned. Bring it back.")
        yield files[0].named(name), fingerprint[name]


def require_unique_names(names: Sequence[str]) -> None:
    """Raise InputError if two files of a recipe would give their documents the same origin."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"source.inputs: two files have the name {twice[0]!r}, by which their documents would be traced. "
            "Rename one, or take one out."
        )


def read_file(file: LocatedFile, fingerprint: Any, sink: DocumentSink, read: Callable[[Path], None]) -> None:
    """`read` a file from this machine's disk; one that cannot be downloaded, or that only stands in for another, is set
    aside as a whole and counted as lost.

    Copies are removed afterwards; their size and sha256 stay in the result, under `fetched`.
    """
    sink.counts["files"] += 1
    with tempfile.TemporaryDirectory(dir=sink.folder, prefix=".copy-") as scratch:
        try:
            path = file.fetch(fingerprint, Path(scratch))
        except (HttpError, StoreReadError) as error:
            lose_file(sink, file.name, str(error))
            return
        if path.is_relative_to(scratch):
            _record_copy(file.name, path, sink.folder)
        if reason := stand_in(path):
            lose_file(sink, file.name, reason)
        else:
            read(path)


def lose_file(sink: DocumentSink, name: str, reason: str) -> None:
    """Set aside a whole file. The stage holds the share of lost files against the same limit as that of records."""
    sink.counts["lost_files"] += 1
    sink.quarantine(name, reason)


def _record_copy(name: str, path: Path, folder: Path) -> None:
    # A name that another machine gave, such as one with "..", leads nowhere here.
    note = folder / "fetched" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{path.name}.json"
    note.parent.mkdir(exist_ok=True)
    record = {"name": name, "bytes": path.stat().st_size, "sha256": file_digest(path)}
    note.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")


def _files_at(text: str, folder: Path, file_type: FileType, field: str) -> Sequence[LocatedFile]:
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme and (f"={MASK}" in text or f"://{MASK}@" in text):
        raise InputError(f"{field}: its credentials are masked, as in every lock. Write them there again.")
    if scheme in ("http", "https"):
        return [_web_file(text, file_type, field)]
    if scheme in STORES:
        files = STORES[scheme](text, file_type.fits, field)
        if not files:
            raise InputError(f"{field}: holds no {file_type.noun}. Files end in {file_type}.")
        return files
    if scheme:
        schemes = ", ".join(f"{name}://" for name in ("http", "https", *STORES))
        raise InputError(f"{field}: no place of a known kind. Places are paths, or start with {schemes}.")
    return local_files(text, folder, file_type, field)


def _web_file(url: str, file_type: FileType, field: str) -> WebFile:
    file = WebFile(url, urllib.parse.unquote(urllib.parse.urlsplit(url).path).lstrip("/"))
    if not file_type.fits(file.name):
        raise InputError(f"{field}: not a {file_type.noun}, whose names end in {file_type}. A URL names one file.")
    return file


def _identity(file: LocatedFile) -> Any:
    """The key that is equal for two mentions of one file."""
    return file.path.resolve() if isinstance(file, LocalFile) else file
