"""Landlock: a process gives up its own rights to files, TCP ports and other processes, as any user.

Numbers from linux/landlock.h; the additions of each version of the interface (ABI), from the kernel's
Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.sandbox.confinement.kernel import syscall

READ_FILE, READ_DIR = 1 << 2, 1 << 3
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
RULE_PATH_BENEATH = 1
FILE_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Number of rights to files (bits from 0) that each ABI knows; later ones know as many as the fifth."""
NETWORK_ABI, SCOPE_ABI = 4, 6
BIND_AND_CONNECT_TCP = 0b11
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """The kernel's version of landlock; 0 if it has none."""
    try:
        return syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    except OSError:
        return 0


def ruleset(rights: Mapping[Path, int], version: int) -> int:
    """A file descriptor of rules that leave these rights to files and no others, no TCP port, and (ABI 6) no signal to
    and no abstract socket of a process outside.

    Args:
        rights: READ_FILE, READ_DIR of each path and everything below it; paths that do not exist are left out.
        version: the kernel's ABI, or an older one, which leaves more to the process.
    """
    handled = _Ruleset(
        (1 << FILE_RIGHTS_BY_ABI[min(version, max(FILE_RIGHTS_BY_ABI))]) - 1,
        BIND_AND_CONNECT_TCP if version >= NETWORK_ABI else 0,
        ABSTRACT_SOCKETS_AND_SIGNALS if version >= SCOPE_ABI else 0,
    )
    num_bytes = 24 if version >= SCOPE_ABI else 16 if version >= NETWORK_ABI else 8
    rules = syscall(CREATE_RULESET, ctypes.byref(handled), num_bytes, 0)
    for path, allowed in rights.items():
        _allow(rules, path, allowed)
    return rules


def restrict(rules: int) -> None:
    """From here on this process and its children live by `rules`, a descriptor of `ruleset`. Needs no_new_privs."""
    syscall(RESTRICT_SELF, rules, 0)


def _allow(rules: int, path: Path, allowed: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rule = _PathBeneath(allowed, descriptor)
    syscall(ADD_RULE, rules, RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(descriptor)
