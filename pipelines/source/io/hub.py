"""Files of dataset repositories of the Hugging Face Hub (`hf://datasets/`), through its own client."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.source.errors import InputError
from pipelines.source.io.globs import base_of, is_deep, is_named
from pipelines.source.io.remote_file import RemoteFile, State, StoreReadError

COPY_BYTES = 2**20
CREDENTIALS = "HF_TOKEN for a private or gated dataset"


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset, by its path with the revision that the address asks for."""

    path: str

    def look(self) -> State | None:
        with _errors_as_store_read_error(self.path):
            files = open_hub()
            return _state(files.info(self.path)) if files.exists(self.path) else None

    def download(self, state: State, target: Path) -> None:  # noqa: ARG002 - a blob of this id has this content
        with _errors_as_store_read_error(self.path):
            source = open_hub().open(self.path, "rb")
        with source, target.open("wb") as file:
            while piece := self._read(source):
                file.write(piece)

    def _read(self, source: Any) -> bytes:
        # Errors of the Hub are distinguished from those of the disk that the copy is written to.
        with _errors_as_store_read_error(self.path):
            content: bytes = source.read(COPY_BYTES)
            return content


def list_files(url: str, fits: Callable[[str], bool], field: str) -> list[RemoteFile]:
    """Files at an address, below it, or that its glob names, if `fits` accepts their names.

    `field` starts the message of the InputError that is raised if the dataset cannot be listed.
    """
    path = url.partition("://")[2].rstrip("/")
    if "?" in path:
        raise InputError(f"{field}: hf:// takes no options after '?'. Take them out.")
    base = base_of(path)
    try:
        with _errors_as_store_read_error(path):
            infos = open_hub().find(base, maxdepth=None if is_deep(path, base) else 1, detail=True)
            return [
                RemoteFile(_without_revision(file), HubFile(file), _state(info))
                for file, info in infos.items()
                if is_named(file, path) and fits(file)
            ]
    except StoreReadError as error:
        raise InputError(
            f"{field}: cannot be listed ({error}). Correct the address, or give credentials ({CREDENTIALS})."
        ) from None


def open_hub() -> Any:
    """The Hub as an fsspec file system."""
    from huggingface_hub import HfFileSystem

    # A cached instance would keep returning its first listing.
    return HfFileSystem(skip_instance_cache=True)


def _without_revision(path: str) -> str:
    """`datasets/org/name/path`, by which documents are traced."""
    return re.sub(r"^(datasets/[^/]+/[^/@]+)@[^/]+", r"\1", path)


def _state(info: Mapping[str, Any]) -> State:
    return State(f"blob {info['blob_id']}", info["size"])


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
