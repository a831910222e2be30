"""System calls that Python has no function for, by ctypes."""

import ctypes
import os
import signal
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47

CLONE = {"x86_64": 56, "aarch64": 220}
"""Number of that system call by machine."""

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)
"""Calls that keep the interpreter's lock, which a child of this process finds as this process left it."""


def syscall(number: int, *arguments: Any) -> int:
    """Raises OSError with the kernel's reason."""
    return _checked(_libc.syscall(number, *map(_wide, arguments)), f"system call {number}")


def prctl(option: int, *arguments: Any) -> int:
    """Raises OSError with the kernel's reason."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc.prctl(option, *map(_wide, padded)), f"prctl {option}")


def unshare(flags: int) -> None:
    """Raises OSError if the machine does not allow it."""
    _checked(_libc.unshare(flags), "unshare")


def fork(namespaces: int) -> int:
    """As `os.fork`, with the child in new namespaces (flags of clone). For a process with one thread. Raises OSError if
    the machine does not allow it."""
    if not namespaces:
        return os.fork()
    flags = ctypes.c_ulong(namespaces | signal.SIGCHLD)
    _python.PyOS_BeforeFork()
    pid = _python.syscall(CLONE[os.uname().machine], flags, *map(_wide, (0, 0, 0, 0)))
    if pid == 0:
        _python.PyOS_AfterFork_Child()
    else:
        _python.PyOS_AfterFork_Parent()
    return _checked(pid, "clone")


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """Raises OSError if the machine does not allow it."""
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None), "mount")


def set_host_name(name: str) -> None:
    """Raises OSError outside a namespace of this process's own."""
    for function in (_libc.sethostname, _libc.setdomainname):
        _checked(function(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def die_with_parent() -> None:
    """The kernel kills this process when the thread that forked it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wide(argument: Any) -> Any:
    """Variadic C functions read whole registers: a bare int would leave the upper half undefined."""
    return ctypes.c_ulong(argument) if isinstance(argument, int) else argument


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)
