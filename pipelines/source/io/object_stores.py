"""Files of object stores (`s3://`, `gs://`, `az://`) that an address, a folder or a glob names."""

import os
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.host.masking import masked
from infra.store.errors import StoreError
from infra.store.objects import CREDENTIALS, AddressError, ChangedObjectError, Entry, Objects
from pipelines.source.errors import InputError
from pipelines.source.io.globs import base_of, is_deep, is_named
from pipelines.source.io.http_client import ChangedError
from pipelines.source.io.remote_file import RemoteFile, State, StoreReadError

SCHEMES = tuple(CREDENTIALS)
PLANNING_S = 20.0
"""Time limit for retrying a listing, so that a plan without credentials does not seem to hang."""
ETAG = "etag "
"""Before a version that is an ETag; others are times of change."""


@dataclass(frozen=True)
class StoredObject:
    """One object. `address`: the given address, which opens its bucket; `key`: within the bucket."""

    address: str
    key: str

    def look(self) -> State | None:
        with _errors_as_store_read_error():
            entry = open_bucket(self.address).head(self.key)
        return _state(entry) if entry else None

    def download(self, state: State, target: Path) -> None:
        etag = state.version.removeprefix(ETAG) if state.version.startswith(ETAG) else None
        with _errors_as_store_read_error():
            try:
                open_bucket(self.address).download(self.key, target, etag)
            except ChangedObjectError:
                bucket = urllib.parse.urlsplit(self.address).netloc
                raise ChangedError(
                    f"{bucket}/{self.key}: changed since the run was planned. Start the run again."
                ) from None


def list_files(url: str, fits: Callable[[str], bool], field: str) -> list[RemoteFile]:
    """Files at an address, below it, or that its glob names, if `fits` accepts their names.

    `field` starts the message of the InputError that is raised if the store cannot be listed.
    """
    parts = urllib.parse.urlsplit(url)
    path = parts.path.strip("/")
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
                RemoteFile(f"{parts.netloc}/{entry.name}", StoredObject(url, entry.name), _state(entry))
                for entry in entries
                if is_named(entry.name, path) and fits(entry.name)
            ]
    except StoreReadError as error:
        raise InputError(
            f"{field}: cannot be listed ({error}). Correct the address, or give credentials "
            f"({CREDENTIALS[parts.scheme]})."
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


def _region(bucket: str) -> str:
    """The region of a bucket, which S3 publishes. Raises StoreReadError if there is no such bucket."""
    from pyarrow.fs import resolve_s3_region

    try:
        return str(resolve_s3_region(bucket))
    except OSError as error:
        reason = re.split(r"[.:] ", str(error), maxsplit=1)[0]
        raise StoreReadError(f"{bucket}: {reason}") from None


def _state(entry: Entry) -> State:
    changed = f"modified {datetime.fromtimestamp(entry.changed, UTC).isoformat()}"
    return State(f"{ETAG}{entry.etag}" if entry.etag else changed, entry.bytes)


@contextmanager
def _errors_as_store_read_error() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreReadError(str(error)) from error
