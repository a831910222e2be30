"""A private root folder of the sandbox, made of bind mounts: only paths that a program may read exist in it.

Landlock keeps a program from the contents of files, not from their metadata (names, sizes, times, and processes by
/proc). If the user may create a mount namespace, `prepare` builds two trees in it; a program's process enters one by
chroot, which it cannot leave again: it has no capability, no descriptor of a folder outside, and no such system call.
"""

import os
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from pipelines.sandbox.confinement import kernel

CLONE_NEWNS = 1 << 17
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1 << bit for bit in (0, 1, 2, 3, 5, 12, 14, 18)
)
NOBODY = 65534
MOUNT_POINT = "/sys"
"""A folder of every machine that nobody keeps files in. The mount is visible only to this process and its children."""
LIBRARY, FILES = f"{MOUNT_POINT}/library", f"{MOUNT_POINT}/files"
"""The trees of programs that read the standard library, and of those that read named files."""
EMPTY = MS_NOSUID | MS_NODEV | MS_NOEXEC
"""Flags of file systems that hold nothing but mount points."""
LOADER_LINKS = (Path("/lib"), Path("/lib64"))
"""Paths that the dynamic loader's cache and the interpreter's header use; links on many systems."""


def prepare(owner: tuple[int, int], readable: Collection[Path], hidden: Collection[Path]) -> bool:
    """Builds LIBRARY of `readable` and an empty FILES; False if this user may not. Folders of `hidden` hold nothing but
    what is itself among `readable`.

    Needs a user namespace of this process's own, and changes nothing outside of it.

    Args:
        owner: user and group of this process outside its user namespace.
    """
    try:
        _become_nobody(*owner)
        kernel.unshare(CLONE_NEWNS)
        kernel.mount("none", "/", "", MS_REC | MS_PRIVATE)
        kernel.mount("sandbox", MOUNT_POINT, "tmpfs", EMPTY)
        for folder in (LIBRARY, FILES):
            Path(folder).mkdir()
        add(LIBRARY, readable)
        for link in LOADER_LINKS:
            if link.is_symlink():
                _copy_link(LIBRARY, link)
        covers = [f"{LIBRARY}{path}" for path in hidden if Path(f"{LIBRARY}{path}").is_dir()]
        for cover in covers:
            kernel.mount("sandbox", cover, "tmpfs", EMPTY)
        below = tuple(f"{folder}/" for folder in hidden)
        add(LIBRARY, [path for path in readable if str(_resolved(path)).startswith(below)])
        for empty in (*covers, MOUNT_POINT):
            kernel.mount("sandbox", empty, "", MS_REMOUNT | MS_RDONLY | EMPTY)
    except (OSError, AttributeError):
        return False
    return True


def with_files(paths: Iterable[Path]) -> None:
    """Makes FILES, for this process and its children, hold `paths` and nothing else."""
    kernel.unshare(CLONE_NEWNS)
    kernel.mount("sandbox", FILES, "tmpfs", EMPTY)
    add(FILES, paths)


def add(tree: str, paths: Iterable[Path]) -> None:
    """Makes `paths` exist in `tree` by the names that they have outside, links on the way included. Paths that do not
    exist are left out.

    Raises OSError if a mount is not allowed.
    """
    # Short paths first: mounting a folder includes everything below it, but not the targets of links there.
    mounted: set[Path] = set()
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        if path.parent in mounted and not path.is_symlink():
            continue
        target = _link(tree, path)
        if target is not None and mounted.isdisjoint((target, *target.parents)):
            _mount_onto(tree, target)
            mounted.add(target)


def _mount_onto(tree: str, target: Path) -> None:
    mount_point = Path(f"{tree}{target}")
    if target.is_dir():
        mount_point.mkdir(parents=True, exist_ok=True)
    else:
        mount_point.parent.mkdir(parents=True, exist_ok=True)
        mount_point.touch()
    kernel.mount(str(target), str(mount_point), "", MS_BIND | MS_REC)


def _resolved(path: Path) -> Path:
    """`path.resolve()`, with each folder of many paths looked up once."""
    return path.resolve() if path.is_symlink() else _resolved_folder(path.parent) / path.name


@cache
def _resolved_folder(folder: Path) -> Path:
    return folder.resolve()


def _link(tree: str, path: Path) -> Path | None:
    """Copies the links along `path` into `tree`; returns their target, None if that does not exist."""
    if not path.exists():
        return None
    for folder in (*reversed(path.parents), path):
        if folder.is_symlink():
            _copy_link(tree, folder)
            target = folder.parent / folder.readlink() / path.relative_to(folder)
            return _link(tree, Path(os.path.normpath(target)))
    return path


def _copy_link(tree: str, link: Path) -> None:
    copy = Path(f"{tree}{link}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.is_symlink():
        copy.symlink_to(link.readlink())


def _become_nobody(user: int, group: int) -> None:
    """Files in a new file system need an owner whom the user namespace knows."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
