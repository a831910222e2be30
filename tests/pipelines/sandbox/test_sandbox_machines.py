"""The sandbox on other machines: another user, a kernel without landlock, processors that are busy, a caller killed."""

import json
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import sandbox as package
from pipelines.sandbox import PythonSandbox
from pipelines.sandbox.confinement.lockdown import Isolation

NOBODY = 65534
FOLDER = Path(package.__file__).parent
LIGHT = f"""
import json, os, sys
from types import ModuleType
sys.path.append({str(FOLDER.parents[1])!r})
sys.modules["pipelines"] = stand_in = ModuleType("pipelines")
stand_in.__path__ = [{str(FOLDER.parent)!r}]
from pipelines.sandbox import *
"""
"""A caller without torch: the sandbox needs the standard library alone."""
WITHOUT_LANDLOCK = """
import ctypes, struct
from pipelines.sandbox.confinement import kernel, seccomp
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *rule) for rule in rules)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.byref(seccomp._Program(len(code) // 8, code)))
"""
"""A kernel before 5.13, as its processes see it: landlock_create_ruleset is not there."""


def light(script: str, python: str = sys.executable, **options: object) -> str:
    """The output of `script`."""
    command = [python, "-c", LIGHT + script]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd="/", timeout=300, **options)  # type: ignore[call-overload]
    assert done.returncode == 0
    return str(done.stdout).strip()


def test_what_is_missing_is_named() -> None:
    assert Isolation(landlock_abi=1, seccomp=True, namespaces=False).missing() == []
    landlock, seccomp = Isolation(landlock_abi=0, seccomp=False, namespaces=True).missing()
    assert landlock.startswith("landlock")
    assert seccomp.startswith("seccomp")


def test_other_words_do_not_make_it_unsafe() -> None:
    with pytest.raises(ValueError, match='write "i accept unsafe execution"'):
        PythonSandbox(unsafe="yes")


ATTEMPT = """
try:
    with PythonSandbox() as sandbox:
        print("ran")
except SandboxUnavailableError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_landlock_nothing_runs_unless_the_caller_says_so_and_then_attacks_are_real() -> None:
    message = light(WITHOUT_LANDLOCK + ATTEMPT)
    assert "lacks landlock (Linux 5.13 or later" in message
    assert 'pass unsafe="i accept unsafe execution"' in message
    escaped = light(WITHOUT_LANDLOCK + ESCAPES)
    assert json.loads(escaped) == [
        "list the root folder",
        "read /etc/passwd",
        "read a secret file",
        "read its own memory map",
        "read this project",
    ]


ESCAPES = """
import tempfile
from pathlib import Path
from pipelines.sandbox.battery import describe, make_target, run_attack
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.python.attacks import PYTHON_ATTACKS
chosen = [one for one in PYTHON_ATTACKS if one.name.startswith(("read", "list the root")) and "caller" not in one.name]
options = {"unsafe": UNSAFE, "ceiling": Ceiling(namespaces=False)}
with tempfile.TemporaryDirectory() as folder, PythonSandbox(**options) as sandbox:
    target = make_target(Path(folder), 0)
    ends = {one.name: describe(run_attack(sandbox, one, target)) for one in chosen}
print(json.dumps(sorted(name for name, end in ends.items() if end == "returned 'escaped'")))
"""


@pytest.mark.slow
def test_whole_battery_as_nobody() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become nobody; the other tests already ran as a user")
    pythons = [path for path in (sys.executable, shutil.which("python3", path="/usr/bin")) if path and _runs(path)]
    if not pythons:
        pytest.skip("user 65534 can reach no Python of this machine")
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    attacked = light("preflight('python'); preflight('sql'); print('stopped by', os.getuid())", pythons[0], **user)
    assert attacked == "stopped by 65534"


def _runs(python: str) -> bool:
    """Whether nobody can start it and read this project."""
    check = f"import sys; assert sys.version_info >= (3, 11); open({str(FOLDER / 'process' / 'start.py')!r})"
    try:
        done = subprocess.run(
            [python, "-c", check], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True
        )
    except PermissionError:
        return False
    return done.returncode == 0


BUSY = """
import time
def f(seconds):
    if seconds < 0:
        time.sleep(-seconds)
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    return seconds
"""
CALLS = [[0.0], [0.6], [-0.5], [0.6], [-1e6]], [[0.6], [1e6]]


def _verdicts() -> list[list[str]]:
    with PythonSandbox() as sandbox:
        return [[call.outcome for call in sandbox.call(BUSY, "f", calls, cpu_s=1.0).calls] for calls in CALLS]


@pytest.mark.slow
def test_busy_machine_changes_no_verdict() -> None:
    expected = [["returned", "returned", "returned", "returned", "asleep"], ["returned", "timeout"]]
    assert _verdicts() == expected
    spinners = [multiprocessing.get_context("spawn").Process(target=_spin) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        for spinner in spinners:
            spinner.start()
        assert _verdicts() == expected
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def _spin() -> None:
    while True:
        pass


SPINNING = """
with PythonSandbox() as sandbox, sandbox.open("def f():\\n    while True: pass") as program:
    print(sandbox._zygote._process.pid, flush=True)
    program.call("f", [], 1e6)
"""


@pytest.mark.slow
def test_killed_caller_leaves_no_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LIGHT + SPINNING], stdout=subprocess.PIPE, text=True, cwd="/"
    ) as caller:
        assert caller.stdout is not None
        zygote = int(caller.stdout.readline())
        watch = os.pidfd_open(zygote)
        caller.send_signal(signal.SIGKILL)
    # It waits for the process that forks programs, and ends its program first.
    assert select.select([watch], [], [], 60)[0]
    os.close(watch)
