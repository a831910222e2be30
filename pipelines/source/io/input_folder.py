"""The folder of a recipe as its inputs see it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from pipelines.source.io.local_files import FileType
from pipelines.source.io.locations import LocatedFile, Names, find_files, fingerprint_files, fingerprinted_files


@dataclass(frozen=True)
class InputFolder:
    """The folder at which the relative paths of a recipe start. `names`: those by which the files of its inputs are
    traced, each of one file; `results`: those of other stages that inputs read, by the ids of the stages."""

    path: Path
    names: Names = field(default_factory=Names)
    results: Mapping[str, Artifact] = field(default_factory=dict)

    def find(self, paths: Sequence[str], file_type: FileType) -> list[LocatedFile]:
        """The files at `paths` (files, folders, globs or addresses), each once, by name. Raises InputError."""
        return find_files(paths, self.path, file_type)

    def fingerprint(self, files: Sequence[LocatedFile]) -> dict[str, Any]:
        """Fingerprints of the content of each of `files`, by the name by which it is traced. Raises InputError."""
        return {"files": fingerprint_files(files, self.names)}

    def fingerprinted(
        self, paths: Sequence[str], file_type: FileType, fingerprint: Mapping[str, Any]
    ) -> Iterator[tuple[LocatedFile, Any]]:
        """The files of `fingerprint`, each with the fingerprint of its content, by name. Raises ChangedError if one is
        gone."""
        yield from fingerprinted_files(paths, self.path, file_type, fingerprint["files"])
