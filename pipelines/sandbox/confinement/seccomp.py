"""A seccomp filter that leaves a process the system calls of a Python that computes, and no others.

A call that is not on the list does not exist (ENOSYS), including calls of future kernels. That also lets threads work:
without clone3 the C library uses clone, whose flags a filter can read. Calls with harmless and harmful arguments are
those of `seccomp_arguments`. Numbers from the kernel's syscall_64.tbl (x86-64) and asm-generic/unistd.h (aarch64).
"""

import ctypes
import errno
import platform
import struct
from functools import cache

from pipelines.sandbox.confinement.kernel import PR_SET_SECCOMP, prctl
from pipelines.sandbox.confinement.seccomp_arguments import CheckedCall, HasBits, OneOf, Test, checked_calls

Instruction = tuple[int, int, int, int]
"""Code, jumps if true and if false, operand."""
TO_NEXT_RULE = 255

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of linux/audit.h, by `platform.machine()`."""
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "alarm": (37, None),
    "arch_prctl": (158, None),
    "brk": (12, 214),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getgroups": (115, 158),
    "getitimer": (36, 102),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "lseek": (8, 62),
    "lstat": (6, None),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "pause": (34, None),
    "pipe": (22, None),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigpending": (127, 136),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "sched_yield": (24, 124),
    "select": (23, None),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "setitimer": (38, 103),
    "sigaltstack": (131, 132),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "uname": (63, 160),
    "write": (1, 64),
    "writev": (20, 66),
}
"""x86-64 and aarch64 number of each call that is allowed with any arguments."""

LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JSET|BPF_K, BPF_RET|BPF_K of linux/bpf_common.h."""
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets into struct seccomp_data. Arguments have 8 bytes each, and the low half comes first on both machines; the
kernel reads no more than that half of the arguments checked here."""
ALLOW, FAIL, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
MODE_FILTER = 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def is_available() -> bool:
    """Whether this machine's calls are known here and its kernel takes filters."""
    if platform.machine() not in ARCHITECTURES:
        return False
    try:
        prctl(PR_SET_SECCOMP, MODE_FILTER, None)
    except OSError as error:
        return error.errno == errno.EFAULT  # as the manual page describes: the kernel would have read a filter
    return True


def restrict() -> None:
    """From here on this process, its threads and children have the calls of the list. Needs no_new_privs."""
    instructions = filter_program(platform.machine())
    program = _Program(len(instructions) // 8, instructions)
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program))


@cache
def filter_program(machine: str) -> bytes:
    """The filter as BPF: the calls of NUMBERS with any arguments, those of `seccomp_arguments` with harmless ones."""
    column = list(ARCHITECTURES).index(machine)
    instructions: list[Instruction] = [
        (LOAD_WORD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER),
    ]
    for call in checked_calls(machine):
        if (number := call.numbers[column]) is not None:
            checks = _checks(call)
            instructions += [(JUMP_IF_EQUAL, 0, len(checks), number), *checks]
    for numbers in NUMBERS.values():
        if (number := numbers[column]) is not None:
            instructions += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    instructions.append((RETURN, 0, 0, FAIL | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _checks(call: CheckedCall) -> list[Instruction]:
    """Instructions that end in a verdict about a call of this number: allowed if one rule holds."""
    instructions: list[Instruction] = []
    for rule in call.rules:
        body = [instruction for test in rule for instruction in _test(test)]
        length = len(body) + 1
        # A test that fails jumps behind the rule's own end: 255 is a placeholder for that distance until it is known.
        for index, (code, if_true, if_false, operand) in enumerate(body):
            distance = length - index - 1
            hit, miss = (distance if jump == TO_NEXT_RULE else jump for jump in (if_true, if_false))
            instructions.append((code, hit, miss, operand))
        instructions.append((RETURN, 0, 0, ALLOW))
    return [*instructions, (RETURN, 0, 0, FAIL | call.error)]


def _test(test: Test) -> list[Instruction]:
    load = (LOAD_WORD, 0, 0, ARGUMENTS + 8 * test.argument)
    if isinstance(test, OneOf):
        last = len(test.values) - 1
        return [
            load,
            *(
                (JUMP_IF_EQUAL, last - index, 0 if index < last else TO_NEXT_RULE, value)
                for index, value in enumerate(test.values)
            ),
        ]
    if isinstance(test, HasBits):
        return [load, (JUMP_IF_SET, 0, TO_NEXT_RULE, test.bits)]
    return [load, (JUMP_IF_SET, TO_NEXT_RULE, 0, ~test.bits & 0xFFFFFFFF)]
