"""Objects behind an address (`s3://`, `gs://`, `az://`), through obstore.

The address contains options as a query, such as `s3://bucket/runs?region=eu-west-1` or
`?endpoint_override=localhost:9000&scheme=http`, and `?anonymous=true` for public buckets. Credentials never do: they
come from the environment of each process (AWS_*, GOOGLE_*, AZURE_*, or the machine's role), for S3 also from the
profiles of `~/.aws` if boto3 is installed.
"""

import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from arctic_errors import UserError
from infra.host.masking import masked
from infra.store.errors import StoreError

MAX_RETRIES = 12
RETRY_S = 180.0
"""A request that still fails after this many repeats or this long (throttled, 5xx, broken connections) is given up."""
MAX_BACKOFF_S = 20.0
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 300.0
CREDENTIALS: Mapping[str, str] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in ~/.aws (with boto3 installed), or the machine's "
    "role; ?anonymous=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's role; ?anonymous=true for a public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the machine's identity",
}
PROFILE_FILES = {"AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials", "AWS_CONFIG_FILE": ".aws/config"}
REFUSALS = (
    "AccessDenied",
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "Unauthenticated",
)
"""Codes of answers whose remedy is other credentials; S3 gives some of them with status 400."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("region", "endpoint_override", "scheme", "anonymous"),
    "gs": ("endpoint_override", "scheme", "anonymous"),
    "az": ("endpoint_override", "scheme"),
}


class AddressError(UserError, ValueError):
    """An address of objects is malformed."""


class ObjectError(StoreError):
    """An object cannot be read or written: the message names it, the service's reason and the remedy."""


class MissingObjectError(ObjectError):
    """There is no such object, or no such bucket."""


class DamagedObjectError(ObjectError):
    """The bytes of an object have another digest than it is named by."""


class ExistsError(ObjectError):
    """Another writer made the object first."""


class ChangedObjectError(ObjectError):
    """Another writer changed the object since it was read."""


class Version(NamedTuple):
    """The state of an object, as a conditional write names it: by its ETag, on Google Cloud Storage by its
    generation."""

    etag: str
    generation: str | None


@dataclass(frozen=True)
class Entry:
    """One object: its name below the prefix, size, version and time of change in Unix seconds. A listing leaves out
    generations."""

    name: str
    bytes: int
    version: Version
    changed: float

    @property
    def etag(self) -> str:
        return self.version.etag


@dataclass(frozen=True)
class Objects:
    """The objects below one address. Plain data: a copy opens its own connections.

    `patience_s`: how long a request is repeated, seconds; default RETRY_S.
    """

    address: str
    patience_s: float | None = None

    def __post_init__(self) -> None:
        scheme, parts = self.scheme, urllib.parse.urlsplit(self.address)
        if scheme not in OPTIONS:
            schemes = ", ".join(f"{name}://" for name in OPTIONS)
            raise AddressError(f"{masked(self.address)}: unknown kind of store. Give a folder, or one of {schemes}.")
        if "@" in parts.netloc:
            raise AddressError(f"{masked(self.address)}: an address holds no credentials. Give {CREDENTIALS[scheme]}.")
        if not parts.netloc:
            raise AddressError(f"{self.address}: names no bucket. Write {scheme}://BUCKET/PREFIX.")
        for name in self.options:
            if name not in OPTIONS[scheme]:
                names = ", ".join(OPTIONS[scheme])
                raise AddressError(f"{masked(self.address)}: {name} is no option of {scheme}://. Options are {names}.")

    @property
    def scheme(self) -> str:
        return self.address.partition("://")[0]

    @property
    def bucket(self) -> str:
        return urllib.parse.urlsplit(self.address).netloc

    @property
    def prefix(self) -> str:
        return urllib.parse.urlsplit(self.address).path.strip("/")

    @property
    def options(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.address).query))

    @property
    def place(self) -> str:
        """The address without options."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def get(self, name: str) -> bytes:
        """Content of an object. Raises MissingObjectError, ObjectError."""
        with self._errors(name):
            return bytes(self._client.get(name).bytes())

    def read(self, name: str) -> tuple[bytes, Entry]:
        """Content of an object and its listed metadata. Raises MissingObjectError, ObjectError."""
        with self._errors(name):
            result = self._client.get(name)
            return bytes(result.bytes()), _entry(result.meta)

    def head(self, name: str) -> Entry | None:
        """The listed metadata of an object, None if there is none. Raises ObjectError."""
        try:
            with self._errors(name):
                return _entry(self._client.head(name))
        except MissingObjectError:
            return None

    def download(self, name: str, file: Path, etag: str | None = None) -> None:
        """Write an object to `file`, piece by piece. Raises MissingObjectError, ObjectError, and ChangedObjectError if
        it has another ETag than `etag`."""
        with file.open("wb") as target:
            for piece in self._pieces(name, etag):
                target.write(piece)

    def sha256(self, name: str) -> str | None:
        """Digest of an object's content, None if there is none. Raises ObjectError."""
        digest = hashlib.sha256()
        try:
            for piece in self._pieces(name):
                digest.update(piece)
        except MissingObjectError:
            return None
        return digest.hexdigest()

    def _pieces(self, name: str, etag: str | None = None) -> Iterator[bytes]:
        with self._errors(name):
            pieces = iter(self._client.get(name, options={"if_match": etag} if etag else None).stream())
        while True:
            # Errors of the service are distinguished from those of the disk that the pieces are written to.
            with self._errors(name):
                piece = next(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object, large files in parts. Raises ObjectError."""
        with self._errors(name):
            self._client.put(name, content)

    def copy(self, name: str, target: str) -> None:
        """Give an object's content a second name, without a transfer. Raises MissingObjectError, ObjectError."""
        with self._errors(name):
            self._client.copy(name, target)

    def create(self, name: str, content: bytes) -> Version:
        """Write an object that must not exist yet, and return its version. Raises ExistsError, ObjectError."""
        with self._errors(name):
            return _version(self._client.put(name, content, mode="create"))

    def replace(self, name: str, content: bytes, version: Version) -> Version:
        """Write an object that must still have the version, and return its new one. Raises ChangedObjectError,
        ObjectError."""
        with self._errors(name):
            mode = {"e_tag": version.etag, "version": version.generation}
            return _version(self._client.put(name, content, mode={key: value for key, value in mode.items() if value}))

    def delete(self, *names: str) -> None:
        """Remove objects; objects that do not exist are ignored. Raises ObjectError."""
        for name in names:
            try:
                with self._errors(name):
                    self._client.delete(name)
            except MissingObjectError:
                continue

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Every object below a folder, in no order. Raises ObjectError."""
        with self._errors(prefix):
            for batch in self._client.list(prefix or None):
                yield from map(_entry, batch)

    def children(self, prefix: str = "") -> Iterator[Entry]:
        """Objects in a folder, none of those in folders below it. Raises ObjectError."""
        with self._errors(prefix):
            yield from map(_entry, self._client.list_with_delimiter(prefix or None)["objects"])

    @cached_property
    def _client(self) -> Any:
        from obstore.store import AzureStore, GCSStore, S3Store

        options = self.options
        host, http = options.get("endpoint_override"), options.get("scheme", "https")
        endpoint = f"{http}://{host}" if host else None
        settings: dict[str, Any] = {
            "prefix": self.prefix or None,
            "retry_config": {
                "max_retries": MAX_RETRIES,
                "retry_timeout": timedelta(seconds=self.patience_s or RETRY_S),
                "backoff": {"max_backoff": timedelta(seconds=MAX_BACKOFF_S)},
            },
            "client_options": {
                "allow_http": http == "http",
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
            },
        }
        if options.get("anonymous") == "true":
            settings["skip_signature"] = True
        if endpoint:
            settings["base_url" if self.scheme == "gs" else "endpoint"] = endpoint
        if "region" in options:
            settings["region"] = options["region"]
        if self.scheme == "s3" and "skip_signature" not in settings:
            settings["credential_provider"] = _profile_credentials()
        kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
        return kinds[self.scheme](self.bucket, **settings)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        from obstore import exceptions as failures

        try:
            yield
        except (FileNotFoundError, failures.NotFoundError) as error:
            raise MissingObjectError(self._message(name, error, "Correct the address, or make the bucket.")) from None
        except failures.AlreadyExistsError as error:
            raise ExistsError(self._message(name, error, "Read the existing object.")) from None
        except failures.PreconditionError as error:
            raise ChangedObjectError(self._message(name, error, "Read it again.")) from None
        except (failures.BaseError, PermissionError, TimeoutError, ConnectionError) as error:
            raise ObjectError(self._message(name, error, self._mend(error))) from None

    def _message(self, name: str, error: Exception, remedy: str) -> str:
        return masked(f"{self.place}/{name}".rstrip("/") + f": {_reason(error)}. {remedy}")

    def _mend(self, error: Exception) -> str:
        text = str(error)
        if _is_anonymous(text):
            return f"This process has no credentials: give {CREDENTIALS[self.scheme]}."
        if _is_refusal(error):
            return f"Its credentials are refused or have expired: give {CREDENTIALS[self.scheme]}."
        if "NoSuchBucket" in text:
            return "Correct the address, or make the bucket."
        patience_s = self.patience_s or RETRY_S
        return (
            f"Given up after {MAX_RETRIES} repeats or {patience_s:.0f} s. Make the service reachable, or "
            "lower the number of requests, then run the same command again."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "patience_s": self.patience_s}


def _profile_credentials() -> Any:
    """Reads the keys of the user's profile; None if the environment or the machine's role has them, or no boto3."""
    files = [Path(os.environ.get(name, Path.home() / default)).expanduser() for name, default in PROFILE_FILES.items()]
    if "AWS_ACCESS_KEY_ID" in os.environ or not any(file.is_file() for file in files):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None
    try:
        return Boto3CredentialProvider()
    except ValueError:
        # The files hold settings only.
        return None


def _is_anonymous(text: str) -> bool:
    """Without credentials of its own, a client asks the machine's metadata service for a token."""
    return "token request" in text or "/latest/api/token" in text or "/latest/meta-data/" in text


def _is_refusal(error: Exception) -> bool:
    from obstore import exceptions as failures

    if isinstance(error, PermissionError | failures.PermissionDeniedError | failures.UnauthenticatedError):
        return True
    # S3 answers 400 to an expired token, and a HEAD request has no body that names the code.
    text = str(error)
    return any(code in text for code in REFUSALS) or ("performing HEAD" in text and "400 Bad Request" in text)


def _reason(error: Exception) -> str:
    """A service's answer: its status and code; else the first line of the error."""
    text = str(error)
    if _is_anonymous(text):
        return "no token from a metadata service"
    found = [
        re.search(pattern, text)
        for pattern in (r"status code: (\d+ [A-Za-z ]+)", r"<Code>([^<]+)", r"<Message>([^<]+)")
    ]
    parts = [match[1].strip() for match in found if match]
    return ": ".join(parts) or next(iter(text.strip().splitlines()), "")[:400] or type(error).__name__


def _entry(meta: Mapping[str, Any]) -> Entry:
    return Entry(meta["path"], meta["size"], _version(meta), meta["last_modified"].timestamp())


def _version(answer: Mapping[str, Any]) -> Version:
    return Version(answer["e_tag"] or "", answer["version"])
