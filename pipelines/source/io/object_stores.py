"""Files of object stores (`s3://`, `gs://`, `az://`) that an address, a folder or a glob names."""

import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arctic_errors import ArcticError
from infra.host.masking import masked
from infra.store.errors import StoreError
from infra.store.objects import CREDENTIALS, AddressError, ChangedObjectError, Entry, Objects
from pipelines.source.errors import InputError
from pipelines.source.io.globs import base_of, is_deep, is_named
from pipelines.source.io.http_client import ChangedError

SCHEMES = tuple(CREDENTIALS)
PLANNING_S = 20.0
"""How long a listing is tried, so that a plan without credentials does not seem to hang."""


class StoreReadError(ArcticError, OSError):
    """An object cannot be read: the store's own reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(masked(reason))


@dataclass(frozen=True)
class StoredFile:
    """One object. `address`: the one that led to it, which opens its store; `key`: within its bucket; `version`: its
    ETag, else its time of change."""

    address: str
    key: str
    version: str
    size_bytes: int

    @property
    def name(self) -> str:
        """`bucket/key`."""
        return f"{urllib.parse.urlsplit(self.address).netloc}/{self.key}"

    def named(self, name: str) -> "StoredFile":
        if name != self.name:
            raise ValueError(f"{self.name}: an object is traced by its own path, not by {name}")
        return self

    def longer_names(self) -> Iterator[str]:
        return iter(())

    def pin(self) -> dict[str, Any]:
        return {"version": self.version, "size_bytes": self.size_bytes}

    def fetch(self, pinned: Mapping[str, Any], folder: Path) -> Path:
        copy = folder / copy_name(self.key)
        changed = ChangedError(f"{self.name}: changed since the run was planned. Start the run again.")
        objects = open_bucket(self.address)
        with _errors_as_store_read_error():
            entry = objects.head(self.key)
            if entry is None:
                raise StoreReadError(f"{self.name}: no longer there")
            if {"version": _version(entry), "size_bytes": entry.bytes} != pinned:
                raise changed
            try:
                objects.download(self.key, copy, entry.etag or None)
            except ChangedObjectError:
                raise changed from None
        if copy.stat().st_size != entry.bytes:
            raise StoreReadError(f"{self.name}: ends after {copy.stat().st_size} of {entry.bytes} bytes")
        return copy


def list_files(url: str, fits: Callable[[str], bool], field: str) -> list[StoredFile]:
    """Files at an address, below it, or that its glob names, where `fits` takes their names.

    `field` starts the message of the InputError that is raised where the store cannot be listed.
    """
    path = urllib.parse.urlsplit(url).path.strip("/")
    base = base_of(path)
    try:
        objects = open_bucket(url, PLANNING_S)
        with _errors_as_store_read_error():
            single = objects.head(base) if base else None
            if single:
                entries = iter([single])
            else:
                entries = objects.entries(base) if is_deep(path, base) else objects.children(base)
            return [
                StoredFile(url, entry.name, _version(entry), entry.bytes)
                for entry in entries
                if is_named(entry.name, path) and fits(entry.name)
            ]
    except StoreReadError as error:
        scheme = url.partition("://")[0]
        raise InputError(
            f"{field}: cannot be listed ({error}). Correct the address, or give credentials ({CREDENTIALS[scheme]})."
        ) from None


def open_bucket(address: str, patience_s: float | None = None) -> Objects:
    """All objects of the bucket that an address names. Raises InputError for an option that it does not have."""
    parts = urllib.parse.urlsplit(address)
    options = dict(urllib.parse.parse_qsl(parts.query))
    in_environment = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"} & set(os.environ)
    if parts.scheme == "s3" and not {"region", "endpoint_override"} & set(options) and not in_environment:
        options["region"] = _region(parts.netloc)
    query = urllib.parse.urlencode(options)
    try:
        return Objects(f"{parts.scheme}://{parts.netloc}" + (f"?{query}" if query else ""), patience_s)
    except AddressError as error:
        raise InputError(f"paths has {masked(address)!r}: {error}") from None


def copy_name(path: str) -> str:
    """Name of a copy on this machine: the end of the file's own, which no file system finds too long."""
    return path.rpartition("/")[2][-60:]


def _region(bucket: str) -> str:
    """Where a bucket lies, as S3 tells anybody. Raises StoreReadError if there is no such bucket."""
    from pyarrow.fs import resolve_s3_region

    try:
        return str(resolve_s3_region(bucket))
    except OSError as error:
        reason = re.split(r"[.:] ", str(error), maxsplit=1)[0]
        raise StoreReadError(f"{bucket}: {reason}") from None


def _version(entry: Entry) -> str:
    if entry.etag:
        return f"etag {entry.etag}"
    return f"modified {datetime.fromtimestamp(entry.changed, UTC).isoformat()}"


@contextmanager
def _errors_as_store_read_error() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreReadError(str(error)) from error
