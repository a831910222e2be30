"""A root folder that holds the standard library and nothing else, so that no other path has even metadata.

Landlock keeps a program from reading and writing, not from asking whether a path exists, how long it is and when it
changed. Inside a mount namespace the library is mounted a second time, below a folder that is empty otherwise, and a
program's process makes that folder its root before it gives up the right to change it.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.evaluate.sandbox import kernel

MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
NOBODY = 65534
PLACE = Path("/sys")
"""Covered by the new root: a folder that every Linux has, and that none of the sandbox's processes reads."""


def map_user(user: int, group: int) -> None:
    """Let this process, in a user namespace that it has just made, be nobody there; mounts need some user."""
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")


def build(paths: Sequence[Path], hidden: Sequence[str]) -> bool:
    """Mount `paths`, parents before what they hold, below PLACE, without folders of the names `hidden` in them.

    Returns:
        Whether the machine allows it; then `enter` can be called by this process and its children.
    """
    try:
        kernel.mount("none", "/", "none", MS_REC | MS_PRIVATE)
        _cover(PLACE)
        for link in (path for path in Path("/").iterdir() if path.is_symlink()):
            (PLACE / link.name).symlink_to(link.readlink())
        for path in paths:
            _bind(path)
        for folder in (path / name for path in paths for name in hidden):
            if folder.is_dir():
                _cover(_below(folder))
    except (OSError, AttributeError):
        return False
    return True


def enter() -> None:
    """Make PLACE the root of this process, for good once it has no capabilities. Raises OSError."""
    os.chroot(PLACE)
    os.chdir("/")


def _bind(path: Path) -> None:
    target = _below(path)
    if path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.mount(str(path.resolve()), str(target), "none", MS_BIND | MS_REC)


def _cover(folder: Path) -> None:
    kernel.mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")


def _below(path: Path) -> Path:
    return PLACE / path.relative_to("/")
