"""A committed result: its files and the manifest that describes them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 2
_SORTED = json.JSONEncoder(sort_keys=True)
RELEASED = "released.json"
"""File next to a manifest: by path, the reason why a file that nothing needs was removed."""


@dataclass(frozen=True)
class FileEntry:
    """One committed file. `rows` and `footer_sha256`, the digest of the footer with the offsets of its pages, are known
    for Parquet."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None
    footer_sha256: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The files of a stage, its inputs, and its provenance. `shards`: files, metrics and quarantine of each shard, by
    the key of its inputs."""

    id: str
    name: str
    subject: str
    key: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: tuple[FileEntry, ...]
    metrics: Mapping[str, float]
    quarantined: tuple[Mapping[str, str], ...]
    seconds: float
    provenance: Mapping[str, Any]
    shards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        fields = asdict(self)
        return json.dumps({**fields, "sha256": _fields_digest(fields)}, indent=1, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        fields = json.loads(text)
        recorded_digest = fields.pop("sha256", None)
        if fields["schema_version"] not in (1, SCHEMA_VERSION):
            raise ValueError(f"schema_version is {fields['schema_version']}")
        if recorded_digest != (None if fields["schema_version"] == 1 else _fields_digest(fields)):
            raise ValueError("it differs from the committed file")
        fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
        fields["quarantined"] = tuple(fields["quarantined"])
        return cls(**fields)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files)

    def digests(self) -> dict[str, str]:
        """sha256 by file path: equal for two builds of one stage."""
        return {entry.path: entry.sha256 for entry in self.files}


@dataclass(frozen=True)
class Artifact:
    """A committed result: a folder and its manifest.

    `folder` may lack files of a result in object storage; `path` is the same folder, once `fetch` has downloaded them.
    `state`: size and time of change, in ns, of the file that the manifest was read from.

    Example:
        >>> import tempfile
        >>> from infra import Store
        >>> [artifact.manifest.id for artifact in Store(tempfile.mkdtemp()).artifacts()]
        []
    """

    folder: Path
    manifest: Manifest
    fetch: Callable[[Path, Manifest], None] | None = field(default=None, compare=False, repr=False)
    state: tuple[int, int] | None = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Folder with all files of the result. Raises StoreError if they cannot be fetched."""
        if self.fetch:
            self.fetch(self.folder, self.manifest)
        return self.folder

    @property
    def made(self) -> float:
        """Time of the commit, in seconds: to choose the latest of several."""
        return self.folder.stat().st_mtime

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """sha256 by file path, as the manifest has them."""
        return self.manifest.digests()

    def digest(self, file: Path) -> str:
        """sha256 of one of this result's files."""
        return self.digests[file.relative_to(self.folder).as_posix()]


def released(folder: Path) -> Mapping[str, str]:
    """The reason by path of each file that the result in `folder` has released, see `infra.housekeeping.released`."""
    try:
        reasons: dict[str, str] = json.loads((folder / RELEASED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return reasons


def _fields_digest(fields: Mapping[str, Any]) -> str:
    """sha256 of a manifest's fields: its own files have theirs in it, it has nobody else."""
    return hashlib.sha256(_SORTED.encode(fields).encode()).hexdigest()
