"""Facts about the account, the temporary folder, the proxies, the store's file system and the folder that travels."""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from infra.host.surroundings import account_name, home_error, home_folder, proxies, ray_choice, ray_folder_error

UPLOAD_TIMEOUT_S = 20.0
MEASURE = """
import sys
from pathlib import Path
from infra.cluster.upload import UploadError, excludes, measure
upload = measure(Path(sys.argv[1]), excludes(Path(sys.argv[1])))
try:
    upload.require_sendable()
    print("FITS", upload)
except UploadError as error:
    print("LARGE", error)
"""


@dataclass(frozen=True)
class FileSystem:
    """What the store's file system and its owner allow."""

    has_links: bool = True
    has_locks: bool = True
    other_owner: str | None = None


@dataclass(frozen=True)
class Environment:
    """What `infra.host.doctor` judges besides the machine itself; an error is None where there is none."""

    uid: int = 0
    has_name: bool = True
    home_error: str | None = None
    ray_choice: str = "/tmp"
    ray_folder_error: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)
    file_system: FileSystem | None = None
    """None where the store cannot be written."""
    deleted_experiments: tuple[str, ...] = ()
    tracking_error: str | None = None
    upload: str = ""
    upload_fits: bool | None = True
    """None where it could not be measured; `upload` says why."""


def look_around(store_root: Path, folder: Path) -> Environment:
    """The environment of this process, for a store and a working folder; takes at most `UPLOAD_TIMEOUT_S` and a bit."""
    deleted, tracking_error = deleted_experiments(store_root / "mlflow.db")
    fits, upload = measured_upload(folder)
    return Environment(
        uid=os.getuid(),
        has_name=has_account(os.getuid()),
        home_error=home_error() or replaced_home(),
        ray_choice=ray_choice(),
        ray_folder_error=ray_folder_error(ray_choice()),
        proxies=proxies(os.environ),
        file_system=file_system(store_root),
        deleted_experiments=deleted,
        tracking_error=tracking_error,
        upload=upload,
        upload_fits=fits,
    )


def has_account(uid: int) -> bool:
    """Whether the system's list of users names this id."""
    return account_name(uid) is not None


def replaced_home() -> str | None:
    """Says so where `infra.host.surroundings.prepare` gave this process a home, because it had none."""
    own = Path(tempfile.gettempdir()) / f"arctic-{os.getuid()}"
    return f"this user id has no home folder; {own} is used" if home_folder() == own else None


def file_system(root: Path) -> FileSystem | None:
    """Try a link and a lock in the store's folder; None where it cannot be written."""
    if not os.access(root, os.W_OK | os.X_OK):
        return None
    owner = root.stat().st_uid
    other = None if owner == os.getuid() else account_name(owner) or f"user id {owner}"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root) as folder:
            file = Path(folder) / "file"
            file.touch()
            return FileSystem(_links(file), _locks(file), other)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return None


def _links(file: Path) -> bool:
    try:
        file.with_name("link").hardlink_to(file)
    except OSError:
        return False
    return True


def _locks(file: Path) -> bool:
    with file.open("a+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def deleted_experiments(database: Path) -> tuple[tuple[str, ...], str | None]:
    """Names of the deleted experiments in the store's MLflow database, and how it is damaged. A database that a run has
    locked, or has not filled yet, is not damaged: it must stay where it is."""
    if not database.is_file():
        return (), None
    query = "SELECT name FROM experiments WHERE lifecycle_stage = 'deleted' ORDER BY name"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return tuple(name for (name,) in connection.execute(query)), None
    except sqlite3.Error as error:
        is_damaged = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return (), f"{database}: {error}" if is_damaged else None


def measured_upload(folder: Path, timeout_s: float = UPLOAD_TIMEOUT_S) -> tuple[bool | None, str]:
    """Whether `arctic submit` could send a folder, and its size. In a process of its own, since a walk of a huge tree
    can only be ended from outside."""
    command = [sys.executable, "-c", MEASURE, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None, f"{folder}: not measured, listing its files took more than {timeout_s:g} s"
    verdict, _, text = done.stdout.strip().partition(" ")
    if done.returncode or verdict not in ("FITS", "LARGE"):
        return None, f"{folder}: not measured, {done.stderr.strip()[-300:]}"
    return verdict == "FITS", text
