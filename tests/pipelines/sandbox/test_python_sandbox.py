"""A program runs by itself, once for all its calls, and its replies contain the outcome of each."""

import os
import secrets
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox import Limits, PythonSandbox, SandboxUnavailableError, budget_s
from pipelines.sandbox.protocol import ASLEEP, DIED, RETURNED, TIMEOUT, UNUSABLE
from pipelines.sandbox.python.sandbox import NOT_RUN, RAISED


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    with PythonSandbox(Limits(memory_bytes=256 << 20)) as sandbox:
        yield sandbox


def outcomes(sandbox: PythonSandbox, body: str, calls: list[list[object]], cpu_s: float = 1.0) -> list[str]:
    return [reply.outcome for reply in sandbox.call(f"def f(x):\n    {body}", "f", calls, cpu_s).calls]


def test_values_come_back(sandbox: PythonSandbox) -> None:
    value = [1, 2.5, float("-inf"), 3j, "é", b"\x00", (None, True), {"k": {1, 2}}, frozenset({"a"}), 2**5000]
    reply = sandbox.call("def same(x): return x", "same", [[value]], cpu_s=1.0)
    assert reply.load.outcome == RETURNED
    assert reply.calls[0].value == value


def test_calls_share_a_process_and_programs_do_not(sandbox: PythonSandbox) -> None:
    program = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    for _ in range(2):
        assert [call.value for call in sandbox.call(program, "f", [["a"], ["b"]], cpu_s=1.0).calls] == [1, 2]


def test_one_bad_call_does_not_touch_the_next(sandbox: PythonSandbox) -> None:
    reply = sandbox.call("def f(x):\n    return 1 / x if x else object()", "f", [[2], [0], ["a"], [4]], cpu_s=1.0)
    assert [call.outcome for call in reply.calls] == [RETURNED, UNUSABLE, RAISED, RETURNED]
    assert reply.calls[2].error == "TypeError: unsupported operand type(s) for /: 'int' and 'str'"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [("while True: pass", TIMEOUT), ("__import__('time').sleep(1e6)", ASLEEP), ("__import__('os')._exit(3)", DIED)],
)
def test_call_that_ends_the_program_leaves_the_later_ones_out(sandbox: PythonSandbox, body: str, outcome: str) -> None:
    body = f"if x:\n        {body}\n    return x"
    assert outcomes(sandbox, body, [[0], [1], [0]], cpu_s=0.05) == [RETURNED, outcome, NOT_RUN]
    assert outcomes(sandbox, "return x", [[1]]) == [RETURNED]


def test_each_call_has_its_own_budget(sandbox: PythonSandbox) -> None:
    program = "import time\ndef f(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass"
    reply = sandbox.call(program, "f", [[0.2], [0.2], [0.2]], cpu_s=[2.0, 2.0, 0.1])
    assert [call.outcome for call in reply.calls] == [RETURNED, RETURNED, TIMEOUT]
    assert all(0.2 <= call.cpu_s < 0.3 for call in reply.calls[:2])


def test_budget_follows_the_reference() -> None:
    assert budget_s(0.01) == 4.0
    assert budget_s(2.5) == 10.0


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("def f(:", "SyntaxError: "),
        ("import nowhere", "ModuleNotFoundError: "),
        ("raise KeyError('k')", "KeyError: 'k'"),
    ],
)
def test_program_that_does_not_load_runs_no_call(sandbox: PythonSandbox, program: str, error: str) -> None:
    reply = sandbox.call(program, "f", [[1]], cpu_s=1.0)
    assert reply.load.outcome == RAISED
    assert reply.load.error.startswith(error)
    assert reply.calls[0].outcome == NOT_RUN


def test_missing_function_is_an_error_of_the_call(sandbox: PythonSandbox) -> None:
    assert sandbox.call("x = 1", "f", [[1]], cpu_s=1.0).calls[0].error == "KeyError: 'f'"


def test_endless_body_is_timed_out(sandbox: PythonSandbox) -> None:
    assert sandbox.call("while True: pass", "f", [], cpu_s=1.0, load_cpu_s=0.05).load.outcome == TIMEOUT


HONEST = """
from __future__ import annotations
import threading, sqlite3, xml.etree.ElementTree, dataclasses, logging, typing
@dataclasses.dataclass
class Point:
    x: typing.ClassVar[int]
    y: int
def f(count):
    results = []
    threads = [threading.Thread(target=results.append, args=(n,)) for n in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print("out"); print("error", file=__import__("sys").stderr)
    if __name__ == "__main__": raise AssertionError
    return sorted(results) + [Point(7).y]
"""


def test_honest_programs_have_threads_and_the_standard_library(sandbox: PythonSandbox) -> None:
    assert sandbox.call(HONEST, "f", [[5]], cpu_s=2.0).calls[0].value == [0, 1, 2, 3, 4, 7]


def test_programs_that_depend_on_chance_say_the_same_every_time(sandbox: PythonSandbox) -> None:
    program = "import random\ndef f():\n    return [list({'a', 'b', 'c', 'd'}), random.random()]"
    with PythonSandbox() as other:
        replies = [one.call(program, "f", [[]], cpu_s=1.0).calls[0].value for one in (sandbox, other, other)]
    assert replies[0] == replies[1] == replies[2]


def test_later_calls_may_depend_on_earlier_replies(sandbox: PythonSandbox) -> None:
    with sandbox.open("total = 0\ndef add(n):\n    global total\n    total += n\n    return total") as running:
        value = 1
        for _ in range(4):
            value = running.call("add", [value], 1.0).value
    assert value == 8


def test_arguments_and_results_of_megabytes_pass(sandbox: PythonSandbox) -> None:
    text = "x" * (3 << 20)
    assert sandbox.call("def f(x): return x", "f", [[text]], cpu_s=5.0).calls[0].value == text


def test_caller_that_gives_up_gets_a_working_sandbox_again(sandbox: PythonSandbox) -> None:
    with pytest.raises(ZeroDivisionError), sandbox.open("def f(): return 1") as running:
        running.call("f", [], 1.0 / 0)
    assert outcomes(sandbox, "return x", [[1]]) == [RETURNED]


@pytest.mark.parametrize("generation", [0, 1], ids=["monitor", "forker"])
def test_end_of_a_process_of_the_sandbox_ends_its_programs_and_is_told(generation: int) -> None:
    with PythonSandbox() as sandbox:
        zygote = sandbox._zygote._process
        assert zygote is not None
        running = threading.Event()
        errors: list[BaseException] = []

        def spin() -> None:
            try:
                with sandbox.open("def f():\n    while True: pass") as program:
                    running.set()
                    program.call("f", [], 1000.0)
            except SandboxUnavailableError as error:
                errors.append(error)

        thread = threading.Thread(target=spin)
        thread.start()
        running.wait()
        session = os.getsid(zygote.pid)
        members = [os.pidfd_open(pid) for pid in _processes_of(session)]
        os.kill(_descendant(zygote.pid, generation), signal.SIGKILL)
        thread.join()
        assert errors
        assert outcomes(sandbox, "return x", [[1]]) == [RETURNED], "it starts again"
    assert len(members) == 3, "the monitor, the process that forks, and its program"
    for member in members:
        # The kernel kills them, in its own time: a descriptor of a process can be read once it has ended.
        assert select.select([member], [], [], 60.0)[0]
        os.close(member)
    assert not _processes_of(session)


def test_the_process_that_programs_are_forked_from_has_seen_no_data() -> None:
    secret = secrets.token_hex(16)
    with PythonSandbox() as sandbox:
        for program in ("def f(x): return x", f"def f(x): return x, {secret!r}"):
            assert secret in str(sandbox.call(program, "f", [[secret]], cpu_s=1.0).calls[0].value)
        assert sandbox._zygote._process is not None
        try:
            holders = {pid for pid in _all_of(sandbox._zygote._process.pid) if secret.encode() in _memory_of(pid)}
        except PermissionError:
            pytest.skip("this user may not read the memory of the sandbox's processes")
        assert _descendant(sandbox._zygote._process.pid, 1) not in holders
    assert os.getpid() in holders, "a search that finds nothing"


def _all_of(zygote: int) -> list[int]:
    return [os.getpid(), zygote, _descendant(zygote, 1)]


def _memory_of(pid: int) -> bytes:
    """All that a process may write to."""
    content = bytearray()
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            addresses, rights, *_ = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            if "w" in rights and end - start < 1 << 28:
                memory.seek(start)
                content += memory.read(end - start) or b""
    return bytes(content)


def _descendant(pid: int, generation: int) -> int:
    for _ in range(generation):
        (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return pid


def _processes_of(session: int) -> list[int]:
    """Ids of the processes of a session that still run."""
    result = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session, *_ = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            result.append(int(path.parent.name))
    return result
