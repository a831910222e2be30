"""Locks on files, by which runs share a folder. The kernel frees a lock however its holder ends."""

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from infra.store.errors import StoreError

POLL_S = 0.2
Waiting = Callable[[str, float], None]
"""Takes the holder of a lock and the seconds that the caller has waited for it."""


@contextmanager
def locked(path: Path, waiting: Waiting) -> Iterator[None]:
    """Hold the lock file at `path`, made with its folder if missing, and wait while another process holds it.

    The holder of the lock may remove the file: a process that waited for it then creates and locks a new one. Raises
    StoreError if the file system cannot lock files.
    """
    started = time.monotonic()
    while True:
        with _opened(path) as file:
            if try_lock(file, path) and _is_at(file, path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                yield
                return
            file.seek(0)
            holder = file.read().strip()
        waiting(holder, time.monotonic() - started)
        time.sleep(POLL_S)


def try_lock(file: IO[str] | IO[bytes], path: Path) -> bool:
    """Lock an open file until it is closed; False if another process holds it. Raises StoreError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"{path}: its file system cannot lock files ({error.strerror}). Give --store on another."
        ) from None
    return True


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of a file, which this call neither makes nor keeps locked."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
            raise
    return False


def _opened(path: Path) -> IO[str]:
    while True:
        # The last holder may remove the folder at any time: between the calls too by which `mkdir` looks for it.
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue
        except FileExistsError:
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(path.parent.lstat().st_mode):
                    raise


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
