"""Files of dataset repositories of the Hugging Face Hub (`hf://datasets/`), through its own client."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.source.errors import InputError
from pipelines.source.io.globs import base_of, is_deep, is_named
from pipelines.source.io.http_client import ChangedError
from pipelines.source.io.object_stores import StoreReadError, copy_name

COPY_BYTES = 2**20
CREDENTIALS = "HF_TOKEN for a private or gated dataset"


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset. `path`: with the revision that the address asks for; `version`: its blob id."""

    path: str
    version: str
    size_bytes: int

    @property
    def name(self) -> str:
        """The path without the revision: `datasets/org/name/path`."""
        return re.sub(r"^(datasets/[^/]+/[^/@]+)@[^/]+", r"\1", self.path)

    def named(self, name: str) -> "HubFile":
        if name != self.name:
            raise ValueError(f"{self.path}: a file of the Hub is traced by its own path, not by {name}")
        return self

    def longer_names(self) -> Iterator[str]:
        return iter(())

    def pin(self) -> dict[str, Any]:
        return {"version": self.version, "size_bytes": self.size_bytes}

    def fetch(self, pinned: Mapping[str, Any], folder: Path) -> Path:
        copy = folder / copy_name(self.path)
        with _errors_as_store_read_error(self.path):
            files = open_hub()
            if not files.exists(self.path):
                raise StoreReadError(f"{self.path}: no longer there")
            info = files.info(self.path)
        if {"version": _version(info), "size_bytes": info["size"]} != pinned:
            raise ChangedError(f"{self.path}: changed since the run was planned. Start the run again.")
        with _errors_as_store_read_error(self.path):
            source = files.open(self.path, "rb")
        with source, copy.open("wb") as target:
            while piece := self._read(source):
                target.write(piece)
        if copy.stat().st_size != info["size"]:
            raise StoreReadError(f"{self.path}: ends after {copy.stat().st_size} of {info['size']} bytes")
        return copy

    def _read(self, source: Any) -> bytes:
        # Errors of the Hub are told from those of the disk that the copy is written to.
        with _errors_as_store_read_error(self.path):
            content: bytes = source.read(COPY_BYTES)
            return content


def list_files(url: str, fits: Callable[[str], bool], field: str) -> list[HubFile]:
    """Files at an address, below it, or that its glob names, where `fits` takes their names.

    `field` starts the message of the InputError that is raised where the dataset cannot be listed.
    """
    path = url.partition("://")[2].rstrip("/")
    if "?" in path:
        raise InputError(f"{field}: hf:// takes no options after '?'. Take them out.")
    base = base_of(path)
    try:
        with _errors_as_store_read_error(path):
            infos = open_hub().find(base, maxdepth=None if is_deep(path, base) else 1, detail=True).values()
            matches = [info for info in infos if is_named(info["name"], path) and fits(info["name"])]
            return [HubFile(info["name"], _version(info), info["size"]) for info in matches]
    except StoreReadError as error:
        raise InputError(
            f"{field}: cannot be listed ({error}). Correct the address, or give credentials ({CREDENTIALS})."
        ) from None


def open_hub() -> Any:
    """The Hub as an fsspec file system."""
    from huggingface_hub import HfFileSystem

    # A kept instance would go on telling what it once listed.
    return HfFileSystem(skip_instance_cache=True)


def _version(info: Mapping[str, Any]) -> str:
    return f"blob {info['blob_id']}"


@contextmanager
def _errors_as_store_read_error(path: str) -> Iterator[None]:
    try:
        yield
    except StoreReadError:
        raise
    # The client raises errors of its HTTP libraries, which share no class but this one.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreReadError(f"{path}: {reason}") from error
