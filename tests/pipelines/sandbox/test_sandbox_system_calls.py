"""The table of system calls is the kernel's, if its headers are at hand."""

import os
import platform
import re
import struct
from pathlib import Path

import pytest

from pipelines.sandbox.confinement import seccomp, seccomp_arguments
from pipelines.sandbox.confinement.seccomp_arguments import O_DIRECTORY, O_LARGEFILE, O_NOFOLLOW, checked_calls

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
CHECKED = {call.name: call.numbers for call in checked_calls("x86_64")}


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_numbers_are_those_of_the_headers(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip(f"needs the kernel's headers for {machine} ({HEADERS[machine][0]})")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+) +(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in defined}
    column = list(seccomp.ARCHITECTURES).index(machine)
    table = {name: pair[column] for name, pair in (seccomp.NUMBERS | CHECKED).items() if pair[column] is not None}
    assert {name: numbers.get(name, numbers.get(name.removeprefix("new"))) for name in table} == table


def run(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """The verdict of a filter: an interpreter of the instructions that it uses."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == seccomp.LOAD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == seccomp.RETURN:
            return operand
        else:
            hit = accumulator == operand if code == seccomp.JUMP_IF_EQUAL else accumulator & operand
            at += if_true if hit else if_false


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_filter_allows_the_table_and_nothing_else(machine: str) -> None:
    program, here = seccomp.filter_program(machine), seccomp.ARCHITECTURES[machine]
    column = list(seccomp.ARCHITECTURES).index(machine)
    allowed = {pair[column] for pair in seccomp.NUMBERS.values()}
    special = {pair[column] for pair in CHECKED.values()}
    for number in range(600):
        if number not in special:
            assert (run(program, here, number) == seccomp.ALLOW) == (number in allowed)
    assert run(program, 0x40000003, 0) == seccomp.KILL_PROCESS


O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_NONBLOCK = 0, 1, 2, 0o100, 0o1000, 0o2000, 0o4000
O_ASYNC, O_CLOEXEC, O_PATH, O_TMPFILE = 0o20000, 0o2000000, 0o10000000, 0o20000000
HARMLESS = [
    ("fcntl", 3, 0, 10), ("fcntl", 3, 1), ("fcntl", 3, 2, 1), ("fcntl", 3, 3), ("fcntl", 3, 1030, 10),
    ("fcntl", 3, 4, O_NONBLOCK | O_RDWR), ("fcntl", 3, 4, 0),
    ("open", 0, O_RDONLY), ("open", 0, O_CLOEXEC | O_NONBLOCK), ("openat", 3, 0, O_CLOEXEC, 0o666),
    ("clone", 0x3D0F00), ("clone", 0x7D0F00), ("prlimit64", 0), ("getsid", 0), ("getpgid", 0),
    ("sched_getaffinity", 0), ("clock_gettime", 2), ("clock_nanosleep", 1), ("madvise", 0, 0, 4), ("madvise", 0, 0, 14),
    ("membarrier", 8), ("pipe2", 0, O_CLOEXEC),
]  # fmt: skip
"""Call and arguments of a Python that computes."""
HARMFUL = [
    *(("fcntl", 3, command, 0) for command in range(5, 64)),
    *(("fcntl", 3, command, 0) for command in range(1024, 1064) if command != 1030),
    *(("fcntl", 3, 4, flag) for flag in (O_ASYNC, O_ASYNC | O_NONBLOCK, O_TRUNC, O_CREAT)),
    *(
        call
        for flags in (O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_ASYNC, O_PATH, O_TMPFILE, 1 << 30, 1 << 31)
        for call in (("open", 0, flags), ("openat", 3, 0, flags), ("openat", 3, 0, flags | O_CLOEXEC))
    ),
    *(("ioctl", 3, command) for command in (0, 0x5452, 0x8901, 0x5421, 0x5412)),
    *(("clone", 0x3D0F00 | 1 << bit) for bit in (7, 12, 13, 14, 15, 17, 25, 26, 27, 28, 29, 30, 31)),
    ("clone", 17), ("clone", 0x4111),
    *((name, pid) for name in ("prlimit64", "getsid", "getpgid", "sched_getaffinity") for pid in (1, 4321, 2**32 - 1)),
    *((name, (~4321 << 3 | kind) & 0xFFFFFFFF) for name in ("clock_gettime", "clock_nanosleep") for kind in (2, 3, 6)),
    *(("madvise", 0, 0, advice) for advice in (9, 12, 13, 20, 21, 22, 23, 24, 25, 100, 101, 200)),
    *(("membarrier", command) for command in (1, 2, 4, 32, 64, 128)),
    ("pipe2", 0, 0o200), ("pipe2", 0, O_ASYNC),
]  # fmt: skip
"""Call and arguments that act on files, processes or processors of others."""


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_arguments_decide_about_calls_that_can_act_outside(machine: str) -> None:
    program, here = seccomp.filter_program(machine), seccomp.ARCHITECTURES[machine]
    column = list(seccomp.ARCHITECTURES).index(machine)
    ends = {
        (name, *arguments): run(program, here, number, *arguments)
        for name, *arguments in (*HARMLESS, *HARMFUL)
        if (number := CHECKED[name][column]) is not None
    }
    assert [call for call in HARMLESS if ends.get(call, seccomp.ALLOW) != seccomp.ALLOW] == []
    assert [call for call in HARMFUL if ends.get(call) == seccomp.ALLOW] == []
    assert all(end >> 16 == seccomp.FAIL >> 16 for end in ends.values() if end != seccomp.ALLOW)


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_any_mix_of_reading_flags_opens_and_any_other_bit_does_not(machine: str) -> None:
    program, here = seccomp.filter_program(machine), seccomp.ARCHITECTURES[machine]
    number = CHECKED["openat"][list(seccomp.ARCHITECTURES).index(machine)]
    assert number is not None
    reading = O_NONBLOCK | O_CLOEXEC | 0o400 | O_LARGEFILE[machine] | O_DIRECTORY[machine] | O_NOFOLLOW[machine]
    for flags in (reading, *(reading ^ (1 << bit) for bit in range(32))):
        allowed = run(program, here, number, 3, 0, flags) == seccomp.ALLOW
        assert allowed == (flags & ~reading == 0), oct(flags)


def test_flags_are_those_of_this_machine() -> None:
    machine = platform.machine()
    if machine not in seccomp.ARCHITECTURES:
        pytest.skip("needs x86-64 or aarch64")
    assert (O_DIRECTORY[machine], O_NOFOLLOW[machine]) == (os.O_DIRECTORY, os.O_NOFOLLOW)
    assert seccomp_arguments.O_DIRECT[machine] == os.O_DIRECT
