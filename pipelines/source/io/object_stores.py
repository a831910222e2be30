"""Files of object stores (`s3://`, `gs://`) and of dataset repositories (`hf://datasets/`), through pyarrow.fs.

Options stand in the address as a query, such as `s3://bucket/crawl/*.warc.gz?region=eu-west-1` or
`?endpoint_override=localhost:9000&scheme=http`, and `?anonymous=true` for public buckets.
"""

import glob
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as arrow

from arctic_errors import ArcticError
from infra.host.masking import masked
from infra.host.web import proxy_of
from pipelines.source.errors import InputError
from pipelines.source.io.http_client import ChangedError

COPY_BYTES = 2**20
GS_RETRY_LIMIT = timedelta(seconds=60)
"""Arrow's own limit is 15 minutes, in which a plan without credentials would seem to hang."""
CREDENTIALS: Mapping[str, str] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws; ?anonymous=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; ?anonymous=true for a public bucket",
    "hf": "HF_TOKEN for a private or gated dataset",
}
SCHEMES = tuple(CREDENTIALS)
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("region", "endpoint_override", "scheme", "anonymous"),
    "gs": ("endpoint_override", "scheme", "anonymous"),
    "hf": (),
}


class StoreReadError(ArcticError, OSError):
    """An object cannot be read: the store's own reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(masked(reason))


@dataclass(frozen=True)
class StoredFile:
    """One object. `address`: the one that led to it, which opens its store; `version`: blob id or time of change."""

    address: str
    path: str
    version: str
    size_bytes: int

    @property
    def name(self) -> str:
        """The path in the store, without a revision of the Hub: `bucket/key`, `datasets/org/name/path`."""
        return (
            re.sub(r"^(datasets/[^/]+/[^/@]+)@[^/]+", r"\1", self.path) if _scheme(self.address) == "hf" else self.path
        )

    def named(self, name: str) -> "StoredFile":
        if name != self.name:
            raise ValueError(f"{self.path}: an object is traced by its own path, not by {name}")
        return self

    def longer_names(self) -> Iterator[str]:
        return iter(())

    def pin(self) -> dict[str, Any]:
        return {"version": self.version, "size_bytes": self.size_bytes}

    def fetch(self, pinned: Mapping[str, Any], folder: Path) -> Path:
        copy = folder / copy_name(self.path)
        with _errors_as_store_read_error(self.path):
            system = open_store(self.address)
            info = system.get_file_info(self.path)
        if info.type == arrow.FileType.NotFound:
            raise StoreReadError(f"{self.path}: no longer there")
        if {"version": _version(system, info), "size_bytes": info.size} != pinned:
            raise ChangedError(f"{self.path}: changed since the run was planned. Start the run again.")
        with _errors_as_store_read_error(self.path):
            source = system.open_input_stream(self.path, compression=None)
        with source, copy.open("wb") as target:
            while piece := self._read(source):
                target.write(piece)
        if copy.stat().st_size != info.size:
            raise StoreReadError(f"{self.path}: ends after {copy.stat().st_size} of {info.size} bytes")
        return copy

    def _read(self, source: pa.NativeFile) -> bytes:
        # Errors of the store are told from those of the disk that the copy is written to.
        with _errors_as_store_read_error(self.path):
            content: bytes = source.read(COPY_BYTES)
            return content


def list_files(url: str, fits: Callable[[str], bool], field: str) -> list[StoredFile]:
    """Files at an address, below it, or that its glob names, where `fits` takes their names.

    `field` starts the message of the InputError that is raised where the store cannot be listed.
    """
    path = _path(url)
    base = "/".join(path.split("/")[: next(_magic_parts(path), None)])
    try:
        with _errors_as_store_read_error(path):
            system = open_store(url)
            base_info = system.get_file_info(base)
            if base_info.type == arrow.FileType.Directory:
                infos = system.get_file_info(arrow.FileSelector(base, recursive=_is_deep(path, base)))
            else:
                infos = [base_info]
            matches = [info for info in infos if info.type == arrow.FileType.File and is_named(info.path, path)]
            return [
                StoredFile(url, info.path, _version(system, info), info.size) for info in matches if fits(info.path)
            ]
    except StoreReadError as error:
        scheme = _scheme(url)
        raise InputError(
            f"{field}: cannot be listed ({error}). Correct the address, or give credentials ({CREDENTIALS[scheme]})."
        ) from None


def open_store(address: str) -> arrow.FileSystem:
    """The file system that an address belongs to. Raises InputError for an option that it does not have."""
    scheme = _scheme(address)
    options: dict[str, Any] = dict(urllib.parse.parse_qsl(address.partition("?")[2]))
    for name in options:
        if name not in OPTIONS[scheme]:
            names = ", ".join(OPTIONS[scheme]) or "none"
            raise InputError(f"paths has {address!r}: {name} is no option of {scheme}://. Options are {names}.")
    options = {name: value == "true" if name == "anonymous" else value for name, value in options.items()}
    if scheme == "hf":
        return arrow.PyFileSystem(arrow.FSSpecHandler(hub()))
    if scheme == "gs":
        return arrow.GcsFileSystem(retry_time_limit=GS_RETRY_LIMIT, **options)
    if not {"region", "endpoint_override"} & set(options) and not os.environ.get("AWS_ENDPOINT_URL"):
        options["region"] = arrow.resolve_s3_region(_path(address).partition("/")[0])
    return arrow.S3FileSystem(proxy_options=_s3_proxy(options), **options)


def _s3_proxy(options: Mapping[str, Any]) -> str | None:
    """Amazon's library reads no proxy variables by itself."""
    endpoint = options.get("endpoint_override") or f"s3.{options.get('region', 'us-east-1')}.amazonaws.com"
    host = endpoint.partition("://")[2] or endpoint
    return proxy_of(f"{options.get('scheme', 'https')}://{host}")


def copy_name(path: str) -> str:
    """Name of a copy on this machine: the end of the file's own, which no file system finds too long."""
    return path.rpartition("/")[2][-60:]


def is_named(file: str, path: str) -> bool:
    """Whether a file is `path`, lies below it, or is named by its glob: `**` for any folders, `*` and `?` within one
    name."""
    if not glob.has_magic(path):
        return True
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]/]*\])", path)
    pattern = "".join(
        part.replace("[!", "[^") if part.startswith("[") else pieces.get(part, re.escape(part)) for part in parts
    )
    return re.fullmatch(pattern, file, re.DOTALL) is not None


def hub() -> Any:
    """The Hub as an fsspec file system."""
    from huggingface_hub import HfFileSystem

    # A kept instance would go on telling what it once listed.
    return HfFileSystem(skip_instance_cache=True)


def _version(system: arrow.FileSystem, info: arrow.FileInfo) -> str:
    if isinstance(system, arrow.PyFileSystem):
        return f"blob {system.handler.fs.info(info.path)['blob_id']}"
    return f"modified {info.mtime.astimezone(UTC).isoformat()}" if info.mtime else ""


def _scheme(address: str) -> str:
    return address.partition("://")[0]


def _path(address: str) -> str:
    return address.partition("://")[2].partition("?")[0].rstrip("/")


def _magic_parts(path: str) -> Iterator[int]:
    """Places of the parts of a path that name more than themselves."""
    return (number for number, part in enumerate(path.split("/")) if glob.has_magic(part))


def _is_deep(path: str, base: str) -> bool:
    """Whether files below the folders of `base` are asked for too."""
    rest = path.removeprefix(base).lstrip("/")
    return not rest or "/" in rest or "**" in rest


@contextmanager
def _errors_as_store_read_error(path: str) -> Iterator[None]:
    try:
        yield
    except (InputError, ChangedError):
        raise
    # The stores' libraries raise errors of their own HTTP libraries, which share no class but this one.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreReadError(f"{path}: {reason}") from error
