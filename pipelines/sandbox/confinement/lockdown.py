"""A process locks itself up, for good: it limits the files it may read, the calls it may make, and the resources it may
use and see."""

import ctypes
import os
import resource
import sys
import sysconfig
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.sandbox.confinement import kernel, landlock, root, seccomp
from pipelines.sandbox.confinement.limits import Limits

CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (1 << bit for bit in (26, 27, 28, 29, 30))
HOST_NAME = "sandbox"
CAPABILITY_VERSION = 0x20080522
NUM_CAPABILITIES = 64
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPSET = {"x86_64": 126, "aarch64": 91}
NO_LIBRARY = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip")
"""Of the standard library's folder: installed packages may hold benchmarks with their answers; the others are data."""
DEVICES = ("/dev/null", "/dev/urandom")


@dataclass(frozen=True)
class Isolation:
    """The protections that this machine offers, or the used part of them: landlock's ABI (0: none), seccomp filters,
    namespaces of users, networks, queues, host names and processes for this user, and a private root folder of the
    sandbox."""

    landlock_abi: int
    seccomp: bool
    namespaces: bool
    own_root: bool = False

    def missing(self) -> list[str]:
        """Required protections that are missing, in words; namespaces are optional."""
        return [
            words
            for has, words in (
                (self.landlock_abi, "landlock (Linux 5.13 or later, `landlock` among the kernel's lsm=)"),
                (self.seccomp, "seccomp filters (Linux on x86-64 or aarch64, CONFIG_SECCOMP_FILTER)"),
            )
            if not has
        ]


@dataclass(frozen=True)
class Ceiling:
    """The maximum of a machine's protections to use, so that one machine can test the safety of others.

    Args:
        landlock_abi: as on an older kernel; None for this kernel's own.
        namespaces: False to behave as if the user may not create any.
    """

    landlock_abi: int | None = None
    namespaces: bool = True


def enter_namespaces(ceiling: Ceiling, readable: Collection[Path]) -> Isolation:
    """Leaves this machine's network, System V queues, host name and files, except `readable` ones, if the user may, and
    returns the other protections of the machine, up to `ceiling`."""
    abi = landlock.abi()
    owner = os.geteuid(), os.getegid()
    namespaces = ceiling.namespaces and os.uname().machine in kernel.CLONE and _leave_machine()
    return Isolation(
        landlock_abi=abi if ceiling.landlock_abi is None else min(abi, ceiling.landlock_abi),
        seccomp=seccomp.is_available(),
        namespaces=namespaces,
        own_root=namespaces and root.prepare(owner, readable, _packages()),
    )


def _leave_machine() -> bool:
    try:
        kernel.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
        kernel.set_host_name(HOST_NAME)
    except (OSError, AttributeError):
        return False
    return True


def readable_library() -> dict[Path, int]:
    """Rights to read the standard library, without packages, and the C libraries below it."""
    standard = _standard_library()
    rights = dict.fromkeys(standard, landlock.READ_DIR)
    for folder in standard:
        rights |= {path: landlock.READ_FILE for path in folder.iterdir() if path.name not in NO_LIBRARY}
    for folder in {path.parent for path in _mapped_libraries()}:
        if any(folder in library.resolve().parents for library in standard):
            rights |= dict.fromkeys(folder.glob("*.so*"), landlock.READ_FILE)
        else:
            rights[folder] = landlock.READ_FILE
    extra = (*DEVICES, "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime")
    return rights | {Path(path): landlock.READ_FILE for path in extra}


def _standard_library() -> set[Path]:
    return {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}


def _packages() -> list[Path]:
    return [(folder / name).resolve() for folder in _standard_library() for name in NO_LIBRARY]


def lock(isolation: Isolation, limits: Limits, rules: int, folder: str) -> None:
    """Locks this process, which has one thread, as far as `isolation` goes.

    Args:
        rules: descriptor of landlock's rules, closed here; unused without landlock.
        folder: becomes the root folder if `isolation` has one.
    """
    kernel.die_with_parent()
    _die_first()
    if isolation.own_root:
        os.chroot(folder)
        os.chdir("/")
    _limit(limits, isolation.namespaces)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if isolation.landlock_abi:
        landlock.restrict(rules)
        os.close(rules)
    if isolation.seccomp:
        _drop_capabilities()
        seccomp.restrict()


def _die_first() -> None:
    """If memory runs out, the kernel should choose this process, not the one that trains a model."""
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(score, b"1000")
    os.close(score)


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


def prepare_lock(isolation: Isolation) -> None:
    """The part of `lock` that processes inherit, once for all that this process forks."""
    if isolation.seccomp:
        seccomp.filter_program(os.uname().machine)
        _bound_capabilities()


def _bound_capabilities() -> None:
    """No program that is executed gains a capability."""
    for capability in range(NUM_CAPABILITIES):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the kernel's last capability, or not ours to drop and so not ours to gain
            break
    kernel.prctl(kernel.PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def _drop_capabilities() -> None:
    """Even root is nobody then; without it, root could raise its limits again."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    kernel.syscall(CAPSET[os.uname().machine], header, (ctypes.c_uint32 * 6)())


def _mapped_libraries() -> set[Path]:
    fields = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    paths = {Path(line[5]) for line in fields if len(line) == 6 and line[5].startswith("/")}
    executable = Path(sys.executable).resolve()
    return {path for path in paths if ".so" in path.name and path != executable}
