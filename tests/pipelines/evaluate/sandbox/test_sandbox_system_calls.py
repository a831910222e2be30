"""The table of system calls is the kernel's, where its headers are at hand."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.sandbox import seccomp

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
CHECKED = {name: numbers for name, (numbers, _) in seccomp.CHECKED.items()}


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
    data = struct.pack("=iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
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


@pytest.fixture(params=list(seccomp.ARCHITECTURES))
def allows(request: pytest.FixtureRequest) -> Callable[..., bool]:
    """Whether the filter of a machine allows a call by name with some arguments; True of a call that it lacks."""
    program, here = seccomp.filter_program(request.param), seccomp.ARCHITECTURES[request.param]
    column = list(seccomp.ARCHITECTURES).index(request.param)

    def allowed(name: str, *arguments: int) -> bool:
        number = CHECKED[name][column]
        return number is None or run(program, here, number, *arguments) == seccomp.ALLOW

    return allowed


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


def test_threads_are_made_and_no_processes_and_no_limits_but_ones_own(allows: Callable[..., bool]) -> None:
    assert allows("clone", seccomp.CLONE_THREAD | 0x100)
    assert not allows("clone", 17)
    assert allows("prlimit64", 0)
    assert not allows("prlimit64", 4321)


@given(st.integers(0, 2**32 - 1))
def test_files_are_opened_for_reading_alone(flags: int) -> None:
    """Whatever other flags come with it. The numbers are those of asm-generic/fcntl.h."""
    o_wronly, o_rdwr, o_creat, o_trunc, o_append, fasync, o_path = 1, 2, 0o100, 0o1000, 0o2000, 0o20000, 0o10000000
    forbidden = flags & (o_wronly | o_rdwr | o_creat | o_trunc | o_append | fasync | o_path)
    for column, machine in enumerate(seccomp.ARCHITECTURES):
        program, here = seccomp.filter_program(machine), seccomp.ARCHITECTURES[machine]
        for name, before in (("open", (0xDEAD,)), ("openat", (0xDEAD, 0xBEEF))):
            number = CHECKED[name][column]
            if number is not None:
                verdict = run(program, here, number, *before, flags)
                assert (verdict == seccomp.ALLOW) == (not forbidden)


def test_descriptors_are_copied_and_asked_about_and_send_no_signals(allows: Callable[..., bool]) -> None:
    f_dupfd, f_getfd, f_setfd, f_getfl, f_setfl, f_dupfd_cloexec = 0, 1, 2, 3, 4, 1030
    usual = {f_dupfd, f_getfd, f_setfd, f_getfl, f_setfl, f_dupfd_cloexec}
    o_nonblock, fasync = 0o4000, 0o20000
    assert {command for command in range(1100) if allows("fcntl", 7, command, o_nonblock)} == usual
    assert {command for command in range(1100) if allows("fcntl", 7, command, fasync)} == usual - {f_setfl}


def test_clocks_are_ones_own(allows: Callable[..., bool]) -> None:
    of_another_process = ((~4321 << 3) | 2) & (2**64 - 1)
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        assert all(allows(name, clock) for clock in range(12))
        assert not allows(name, of_another_process)
