"""The table of system calls is the kernel's, where its headers are at hand."""

import re
import struct
from pathlib import Path

import pytest

from pipelines.evaluate.sandbox import seccomp

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
ALSO = {"clone": seccomp.CLONE, "ioctl": seccomp.IOCTL, "prlimit64": seccomp.PRLIMIT}


@pytest.mark.parametrize("machine", list(seccomp.ARCHITECTURES))
def test_numbers_are_those_of_the_headers(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip(f"needs the kernel's headers for {machine} ({HEADERS[machine][0]})")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+) +(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in defined}
    column = list(seccomp.ARCHITECTURES).index(machine)
    table = {name: pair[column] for name, pair in (seccomp.NUMBERS | ALSO).items() if pair[column] is not None}
    assert {name: numbers.get(name, numbers.get(name.removeprefix("new"))) for name in table} == table


def run(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """The verdict of a filter: an interpreter of the instructions that it uses."""
    data = struct.pack("=iIQQ", number, architecture, 0, argument)
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
    special = {pair[column] for pair in ALSO.values()}
    for number in range(600):
        if number not in special:
            assert (run(program, here, number) == seccomp.ALLOW) == (number in allowed)
    clone, prlimit = seccomp.CLONE[column], seccomp.PRLIMIT[column]
    assert run(program, here, clone, seccomp.CLONE_THREAD | 0x100) == seccomp.ALLOW
    assert run(program, here, clone, 17) != seccomp.ALLOW
    assert run(program, here, prlimit, 0) == seccomp.ALLOW
    assert run(program, here, prlimit, 4321) != seccomp.ALLOW
    assert run(program, 0x40000003, 0) == seccomp.KILL_PROCESS
