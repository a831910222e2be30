"""A file of an object store or of a dataset repository, which is copied to this machine's disk before it is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from arctic_errors import ArcticError
from infra.host.masking import masked
from pipelines.source.io.http_client import ChangedError


class StoreReadError(ArcticError, OSError):
    """A remote file cannot be read: the store's own reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(masked(reason))


class State(NamedTuple):
    """The fingerprint of a file's content: an ETag, a blob id or a time of change; and its size."""

    version: str
    size_bytes: int


class Remote(Protocol):
    """The address of one file. Plain data, so that it can travel to a worker."""

    def look(self) -> State | None:
        """The file's state, None if it is gone. Raises StoreReadError."""

    def download(self, state: State, target: Path) -> None:
        """Write the file to `target`. Raises ChangedError if it no longer has the `state`, StoreReadError."""


@dataclass(frozen=True)
class RemoteFile:
    """One file, traced by its path in the store. `state`: when it was listed."""

    name: str
    remote: Remote
    state: State

    def named(self, name: str) -> "RemoteFile":
        if name != self.name:
            raise ValueError(f"{self.name}: a remote file is traced by its own path, not by {name}")
        return self

    def longer_names(self) -> Iterator[str]:
        return iter(())

    def fingerprint(self) -> dict[str, Any]:
        return self.state._asdict()

    def fetch(self, fingerprint: Mapping[str, Any], folder: Path) -> Path:
        copy = folder / copy_name(self.name)
        state = self.remote.look()
        if state is None:
            raise StoreReadError(f"{self.name}: no longer there")
        if state._asdict() != fingerprint:
            raise ChangedError(f"{self.name}: changed since the run was planned. Start the run again.")
        self.remote.download(state, copy)
        if copy.stat().st_size != state.size_bytes:
            raise StoreReadError(f"{self.name}: ends after {copy.stat().st_size} of {state.size_bytes} bytes")
        return copy


def copy_name(path: str) -> str:
    """Name of a copy on this machine: the end of the file's own, which no file system finds too long."""
    return path.rpartition("/")[2][-60:]
