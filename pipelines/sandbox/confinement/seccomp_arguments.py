"""System calls that a computing Python needs, but which can act on something outside with some of their arguments.

Each call has rules; it is allowed if all tests of one rule hold. Rules name the arguments that are allowed, so that
flags and commands of future kernels are refused. Constants from the kernel's include/uapi (fcntl.h, sched.h, mman.h,
membarrier.h), and arch/arm64/include/uapi/asm/fcntl.h if aarch64 differs.
"""

import errno
from dataclasses import dataclass

CLONE_THREAD = 0x10000
THREAD_FLAGS = 0x7D0F00
"""Flags that pthread_create of glibc and musl passes: CLONE_VM, FS, FILES, SYSVSEM, SIGHAND, THREAD, SETTLS,
PARENT_SETTID, CHILD_CLEARTID and the void CLONE_DETACHED."""
O_ACCMODE, O_APPEND, O_NONBLOCK, O_CLOEXEC = 0o3, 0o2000, 0o4000, 0o2000000
O_NOCTTY, O_DIRECT = 0o400, {"x86_64": 0o40000, "aarch64": 0o200000}
O_LARGEFILE = {"x86_64": 0o100000, "aarch64": 0o400000}
O_DIRECTORY = {"x86_64": 0o200000, "aarch64": 0o40000}
O_NOFOLLOW = {"x86_64": 0o400000, "aarch64": 0o100000}
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
OWN_MEMORY_ADVICE = (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 102, 103)
"""MADV_NORMAL to DONTNEED, FREE, DONTFORK, DOFORK, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK and
guard pages. Left out: advice that merges pages with other processes', or takes the pages of files that others use."""
OWN_PROCESS_BARRIERS = (0, 8, 16)
"""MEMBARRIER_CMD_QUERY, PRIVATE_EXPEDITED and its registration. Others interrupt the processors of all processes."""


@dataclass(frozen=True)
class OneOf:
    """The argument is one of `values`."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class HasBits:
    """The argument has at least one of `bits`."""

    argument: int
    bits: int


@dataclass(frozen=True)
class OnlyBits:
    """The argument has no bits but `bits`."""

    argument: int
    bits: int


Test = OneOf | HasBits | OnlyBits


@dataclass(frozen=True)
class CheckedCall:
    """`numbers`: on x86-64 and aarch64; `error`: the errno of a call that no rule allows."""

    name: str
    numbers: tuple[int | None, int | None]
    rules: tuple[tuple[Test, ...], ...]
    error: int = errno.EPERM


def checked_calls(machine: str) -> tuple[CheckedCall, ...]:
    """All of them, with the constants of `machine`."""
    reading = O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_LARGEFILE[machine] | O_DIRECTORY[machine] | O_NOFOLLOW[machine]
    status = reading | O_ACCMODE | O_APPEND
    itself = ((OneOf(0, (0,)),),)
    # Negative ids are the clocks of other processes and of devices.
    clock = ((OnlyBits(0, 0x7FFFFFFF),),)
    fcntl: tuple[tuple[Test, ...], ...] = (
        (OneOf(1, (F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC)),),
        (OneOf(1, (F_SETFL,)), OnlyBits(2, status)),
    )
    return (
        CheckedCall("open", (2, None), ((OnlyBits(1, reading),),), errno.EACCES),
        CheckedCall("openat", (257, 56), ((OnlyBits(2, reading),),), errno.EACCES),
        CheckedCall("fcntl", (72, 25), fcntl),
        # "Not a terminal" is an answer that every caller expects; "no such call" is not.
        CheckedCall("ioctl", (16, 29), (), errno.ENOTTY),
        CheckedCall("clone", (56, 220), ((HasBits(0, CLONE_THREAD), OnlyBits(0, THREAD_FLAGS)),)),
        CheckedCall("prlimit64", (302, 261), itself),
        CheckedCall("getpgid", (121, 155), itself),
        CheckedCall("getsid", (124, 156), itself),
        CheckedCall("sched_getaffinity", (204, 123), itself),
        CheckedCall("clock_gettime", (228, 113), clock, errno.EINVAL),
        CheckedCall("clock_getres", (229, 114), clock, errno.EINVAL),
        CheckedCall("clock_nanosleep", (230, 115), clock, errno.EINVAL),
        CheckedCall("madvise", (28, 233), ((OneOf(2, OWN_MEMORY_ADVICE),),), errno.EINVAL),
        CheckedCall("membarrier", (324, 283), ((OneOf(0, OWN_PROCESS_BARRIERS),),)),
        CheckedCall("pipe2", (293, 59), ((OnlyBits(1, O_NONBLOCK | O_CLOEXEC | O_DIRECT[machine]),),), errno.EINVAL),
    )
