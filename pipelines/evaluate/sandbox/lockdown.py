"""A process locks itself up, for good: what it may read, call, use and see."""

import contextlib
import ctypes
import os
import resource
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from pipelines.evaluate.sandbox import kernel, landlock, new_root, seccomp
from pipelines.evaluate.sandbox.limits import Limits

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    1 << bit for bit in (17, 26, 27, 28, 29, 30)
)
HOST_NAME = b"sandbox"
CAPABILITY_VERSION = 0x20080522
NUM_CAPABILITIES = 64
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPSET = {"x86_64": 126, "aarch64": 91}
NO_LIBRARY = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip")
"""Of the standard library's folder: installed packages may hold benchmarks with their answers; the others are data."""
NOT_SHOWN = ("site-packages", "dist-packages")
EXTRA = ("/dev/null", "/dev/urandom", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime")
"""Beside the libraries."""


@dataclass(frozen=True)
class Isolation:
    """What this machine offers: landlock's ABI (0: none), seccomp filters, namespaces for this user, and mounts in
    them, so that a program has a root folder with the standard library alone."""

    landlock_abi: int
    seccomp: bool
    namespaces: bool
    mounts: bool

    def missing(self) -> list[str]:
        """What is needed and not there, in words; namespaces are welcome but not needed."""
        return [
            words
            for has, words in (
                (self.landlock_abi, "landlock (Linux 5.13 or later, `landlock` among the kernel's lsm=)"),
                (self.seccomp, "seccomp filters (Linux on x86-64 or aarch64, CONFIG_SECCOMP_FILTER)"),
            )
            if not has
        ]


EVERYTHING = Isolation(landlock_abi=1 << 16, seccomp=True, namespaces=True, mounts=True)


def enter_namespaces(most: Isolation) -> Isolation:
    """Leaves this machine's network, System V queues, host name and mounts if the user may.

    Args:
        most: protections to use at most, so that an older machine can be tried out on this one.

    Returns:
        The protections that there are.
    """
    namespaces = most.namespaces and _leave()
    mounts = namespaces and most.mounts and new_root.build(standard_library(), NOT_SHOWN)
    version = min(landlock.abi(), most.landlock_abi)
    return Isolation(version, most.seccomp and seccomp.is_available(), namespaces, mounts)


def _leave() -> bool:
    user, group = os.getuid(), os.getgid()
    try:
        kernel.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS)
    except (OSError, AttributeError):
        return False
    new_root.map_user(user, group)
    with contextlib.suppress(OSError):  # some machines grant the namespace and no rights in it
        kernel.sethostname(HOST_NAME)
    return True


def standard_library() -> list[Path]:
    """Folders and files that a Python needs which computes with the standard library alone."""
    folders = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    libraries = {path.parent for path in _mapped_libraries()}
    return [path for path in sorted({*folders, *libraries, *map(Path, EXTRA)}) if path.exists()]


def readable_library() -> dict[Path, int]:
    """Rights to read the standard library, without packages, and the C libraries below it."""
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    rights = dict.fromkeys(standard, landlock.READ_DIR)
    for folder in standard:
        rights |= {path: landlock.READ_FILE for path in folder.iterdir() if path.name not in NO_LIBRARY}
    for folder in {path.parent for path in _mapped_libraries()}:
        if any(folder in library.resolve().parents for library in standard):
            rights |= dict.fromkeys(folder.glob("*.so*"), landlock.READ_FILE)
        else:
            rights[folder] = landlock.READ_FILE
    return rights | {Path(path): landlock.READ_FILE for path in EXTRA}


def lock(isolation: Isolation, limits: Limits, rules: int) -> None:
    """Locks this process, which has one thread, as far as `isolation` goes.

    Args:
        rules: descriptor of landlock's rules, closed here; of no meaning where there is no landlock.
    """
    kernel.die_with_parent()
    _limit(limits, isolation.namespaces)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if isolation.landlock_abi:
        landlock.restrict(rules)
        os.close(rules)
    if isolation.seccomp:
        _drop_capabilities()
        seccomp.restrict()


def die_first() -> None:
    """Where memory runs out, the kernel's choice should be this process, not the one that trains a model."""
    Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(limits: Limits, namespaces: bool) -> None:
    values = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.total_cpu_s,
        resource.RLIMIT_NOFILE: limits.num_open_files,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if namespaces:  # only there the kernel counts this process's own threads
        values[resource.RLIMIT_NPROC] = limits.num_threads
    for limit, value in values.items():
        resource.setrlimit(limit, (value, value))


def _drop_capabilities() -> None:
    """Even root is nobody then; without it, root could raise its limits again."""
    for capability in range(NUM_CAPABILITIES):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the kernel's last capability, or not ours to drop and so not ours to gain
            break
    kernel.prctl(kernel.PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    kernel.syscall(CAPSET[os.uname().machine], header, (ctypes.c_uint32 * 6)())


def _mapped_libraries() -> set[Path]:
    fields = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    paths = {Path(line[5]) for line in fields if len(line) == 6 and line[5].startswith("/")}
    executable = Path(sys.executable).resolve()
    return {path for path in paths if ".so" in path.name and path != executable}
