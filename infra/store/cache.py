"""The working folder of stored results, bounded in size: results that no process uses make room, oldest use first."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from infra.store.errors import StoreError
from infra.store.locks import try_lock

MANIFEST = "manifest.json"
LIMIT_VARIABLE = "ARCTIC_WORK_GIB"
RESERVE_BYTES = 2 * 2**30
"""Bytes that stay free on the disk of a working folder without a limit."""
_in_use: dict[Path, IO[bytes]] = {}


def use(folder: Path) -> None:
    """Keep the files of a result in the working folder until this process ends, and note that it is used now."""
    if folder not in _in_use:
        manifest = (folder / MANIFEST).open("rb")
        fcntl.flock(manifest, fcntl.LOCK_SH)
        _in_use[folder] = manifest
    os.utime(folder / MANIFEST)


def make_room(root: Path, needed: int) -> None:
    """Remove files of results that no process uses until `needed` bytes fit; manifests stay, so that the files can be
    fetched again. Raises StoreError if that is not enough."""
    if needed <= _room(root):
        return
    manifests = sorted(root.glob(f"stages/*/[!.]*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    for manifest in manifests:
        if empty_unused(manifest) and needed <= _room(root):
            return
    raise StoreError(
        f"{root}: {needed:,} bytes of inputs do not fit into this working folder ({max(0, _room(root)):,} are left). "
        f"Raise {LIMIT_VARIABLE}, or name a larger disk with ARCTIC_WORK."
    )


def _room(root: Path) -> int:
    free = shutil.disk_usage(root).free - RESERVE_BYTES
    limit = os.environ.get(LIMIT_VARIABLE)
    if not limit:
        return free
    try:
        limit_bytes = int(float(limit) * 2**30)
    except ValueError:
        raise StoreError(f"{LIMIT_VARIABLE} = {limit!r}: give a number of GiB, such as 200.") from None
    used = sum(file.stat().st_size for file in root.glob("stages/*/[!.]*/**/*") if file.is_file())
    return min(free, limit_bytes - used)


def is_used(manifest: Path) -> bool:
    """Whether a process uses the files next to a manifest."""
    with manifest.open("rb") as file:
        return not try_lock(file, manifest)


def empty_unused(manifest: Path) -> bool:
    """Remove the files next to a manifest; False if a process uses them."""
    with manifest.open("rb") as file:
        if not try_lock(file, manifest):
            return False
        for path in manifest.parent.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != manifest:
                path.unlink()
    return True
