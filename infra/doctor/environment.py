"""Checks of the account, the temporary folder, the proxies, the store's file system and the folder that travels."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.host.surroundings import (
    SurroundingsError,
    account_name,
    fallback_name,
    home_error,
    home_folder,
    prepare,
    proxies,
    ray_choice,
    ray_folder,
    ray_folder_error,
    user_name,
)
from infra.tracking.experiments import Experiments, experiments


@dataclass(frozen=True)
class FileSystem:
    """The permissions of the store's file system and of its owner."""

    has_links: bool = True
    has_locks: bool = True
    other_owner: str | None = None


@dataclass(frozen=True)
class Upload:
    """The size of the folder that `arctic submit` would send, in words, and whether the head accepts it: None if it was
    not measured."""

    text: str = ""
    fits: bool | None = True


@dataclass(frozen=True)
class Environment:
    """Input of `infra.doctor.checks` besides the machine itself; an error is None if there is none."""

    uid: int = 0
    has_name: bool = True
    home_error: str | None = None
    refusal: str | None = None
    """Why a run would not start under this account."""
    ray_choice: str = "/tmp"
    ray_folder_error: str | None = None
    ray_refusal: str | None = None
    """Why no Ray can be started here, in any folder."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    file_system: FileSystem | None = None
    """None if the store cannot be written."""
    experiments: Experiments = field(default_factory=Experiments)
    upload: Upload = field(default_factory=Upload)


def inspect_environment(store_root: Path, upload: Upload) -> Environment:
    """The environment of this process, which is made fit for a run if it can be, and of a store."""
    refusal = _refusal(prepare)
    return Environment(
        uid=os.getuid(),
        has_name=user_name() not in (None, fallback_name()),
        home_error=home_error() or replaced_home(),
        refusal=refusal,
        ray_choice=ray_choice(),
        ray_folder_error=ray_folder_error(ray_choice()),
        ray_refusal=_refusal(ray_folder),
        proxies=proxies(os.environ),
        file_system=file_system(store_root),
        experiments=experiments(store_root),
        upload=upload,
    )


def _refusal(attempt: Callable[[], object]) -> str | None:
    """The error of an attempt of `infra.host.surroundings`, None if there is none."""
    try:
        attempt()
    except SurroundingsError as error:
        return str(error)
    return None


def replaced_home() -> str | None:
    """A message if `infra.host.surroundings.prepare` gave this process a home, because it had none."""
    own = Path(tempfile.gettempdir()) / f"arctic-{os.getuid()}"
    return f"this user id has no home folder; {own} is used" if home_folder() == own else None


def file_system(root: Path) -> FileSystem | None:
    """Try a link and a lock in the store's folder; None if it cannot be written."""
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
