"""The total resources of programs are bounded: waiting, memory, and the work of parsing their replies."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.sandbox import Limits, PythonSandbox, SqlSandbox
from pipelines.sandbox.confinement import limits
from pipelines.sandbox.confinement.limits import MIN_MEMORY_BYTES, divided
from pipelines.sandbox.protocol import ASLEEP, RETURNED, UNUSABLE
from pipelines.sandbox.python.sandbox import NOT_RUN

ROOT = Path(__file__).parents[3]
GIB = 1 << 30
SLEEPER = "import time\ndef f(seconds):\n    time.sleep(seconds)\n    return 1"


def test_waiting_is_counted_over_all_calls_of_a_program() -> None:
    with PythonSandbox(Limits(idle_s=1.0)) as sandbox:
        calls = sandbox.call(SLEEPER, "f", [[0.3]] * 20, cpu_s=1.0).calls
        outcomes = [call.outcome for call in calls]
        assert outcomes == [RETURNED] * 3 + [ASLEEP] + [NOT_RUN] * 16
        again = sandbox.call(SLEEPER, "f", [[0.3]], cpu_s=1.0).calls
    assert [call.outcome for call in again] == [RETURNED]


def test_body_of_a_program_waits_within_the_same_budget() -> None:
    with PythonSandbox(Limits(idle_s=0.5)) as sandbox:
        reply = sandbox.call("import time\ntime.sleep(1000)", "f", [[1]], cpu_s=1.0)
    assert (reply.load.outcome, reply.calls[0].outcome) == (ASLEEP, NOT_RUN)


@pytest.mark.parametrize("memory_gib", [1, 2, 4, 8, 23, 64, 512])
@pytest.mark.parametrize("number", [1, 2, 16, 96])
def test_sandboxes_together_fit_into_the_machine(memory_gib: int, number: int) -> None:
    each, allowed = divided(Limits(memory_bytes=4 * GIB), number, memory_gib * GIB)
    assert 1 <= allowed <= number
    assert each.memory_bytes * allowed <= memory_gib * GIB * 3 // 4
    assert each.memory_bytes <= 4 * GIB
    assert allowed == 1 or each.memory_bytes >= MIN_MEMORY_BYTES
    if memory_gib * 3 // 4 >= 4 * number:
        assert (each.memory_bytes, allowed) == (4 * GIB, number)


def test_limit_of_a_container_counts_as_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CGROUP_LIMITS", (tmp_path / "memory.max", tmp_path / "none"))
    (tmp_path / "memory.max").write_text("max\n")
    whole = limits.machine_memory_bytes()
    (tmp_path / "memory.max").write_text(f"{whole // 2}\n")
    assert limits.machine_memory_bytes() == whole // 2


FORGE = """
import os, time
def f(start, part, times, end):
    content = start + part * times + end
    content = len(content).to_bytes(4, "big") + content
    while content:
        content = content[os.write(4, content):]
    time.sleep(1000)
"""
FORGED = {
    "empty lists": (b'{"value": [', b"[],", 20_000_000, b"0]}"),
    "empty dicts": (b'{"value": [', b"{},", 20_000_000, b"0]}"),
    "of no shape": (b"[", b"[],", 20_000_000, b"0]"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_reply_costs_the_caller_little(name: str, peak_growth: Callable[[], int]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    with PythonSandbox(Limits(reply_bytes=64 << 20)) as sandbox:
        reply = sandbox.call(FORGE, "f", [list(FORGED[name])], cpu_s=5.0).calls[0]
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert reply.outcome == UNUSABLE
    assert peak_growth() < 400 << 20
    assert after.ru_utime - before.ru_utime < 2.0


REPLIES = """
from pipelines.sandbox.confinement.reading import CHECKED_BYTES, is_readable
filler = b'"' + b"x" * CHECKED_BYTES + b'"'
print(is_readable(b'{"value": ' + filler + b"}"))
print(is_readable(b'{"value": [' + b"1.5," * 200_000 + b"0]}"))
print(is_readable(filler + b"no JSON"))  # whoever reads it finds that out as cheaply
print(is_readable(b'{"value": [' + b"[]," * 2_000_000 + b"0]}"))
"""


def test_only_what_costs_too_much_is_unreadable() -> None:
    # In a process without threads, as that of a sandbox: a fork of others may find their locks taken.
    command = [sys.executable, "-c", REPLIES]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "True", "True", "False"]


def test_program_sees_its_files_alone_where_a_root_of_its_own_is_allowed(tmp_path: Path) -> None:
    program = "import os\ndef f(paths):\n    return [os.path.exists(path) for path in paths]"
    with PythonSandbox() as sandbox:
        if not sandbox.has_own_root:
            pytest.skip("this machine allows no mount namespace")
        paths = [str(tmp_path), "/proc/1", "/usr/bin", __file__, "/sys", "/dev/null", resource.__file__]
        (reply,) = sandbox.call(program, "f", [[paths]], cpu_s=1.0).calls
    assert reply.value == [False] * 5 + [True, True]


def test_query_reads_a_database_behind_links(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    connection = sqlite3.connect(tmp_path / "real" / "a.sqlite")
    connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (7);")
    connection.close()
    with SqlSandbox() as sandbox:
        assert sandbox.run_file(tmp_path / "linked" / "a.sqlite", "SELECT a FROM t").rows == ((7,),)
