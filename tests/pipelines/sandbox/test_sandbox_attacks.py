"""Every attack is stopped, each in its own way; and the attacks are real."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox import PreflightError, PythonSandbox, preflight
from pipelines.sandbox.battery import (
    ATTACK_LIMITS,
    WEAKEST,
    attacks_for,
    describe,
    make_target,
    python_failures,
    run_attack,
    sql_failures,
    victim,
)
from pipelines.sandbox.confinement import landlock
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.python.attacks import CHEATS, FILES, PYTHON_ATTACKS, SIGNALS, Attack
from pipelines.sandbox.python.sandbox import Running
from pipelines.sandbox.sql.attacks import SqlAttack


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    with PythonSandbox(ATTACK_LIMITS) as sandbox:
        yield sandbox


@pytest.mark.parametrize("attack", PYTHON_ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_stopped(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    if attack not in attacks_for(sandbox, PYTHON_ATTACKS):
        pytest.skip("this machine allows no root folder of the sandbox's own")
    with victim() as alive:
        reply = run_attack(sandbox, attack, make_target(tmp_path, alive.pid))
        assert alive.poll() is None
    assert re.match(attack.expected, describe(reply))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "attack", [attack for attack in CHEATS if attack.name.startswith("find the answers")], ids=lambda one: one.name
)
def test_search_for_answers_finds_one_that_is_there(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    target = make_target(tmp_path, 0) | {"answers": ["answer:" + "0123456789abcdef" * 2]}
    assert describe(run_attack(sandbox, attack, target)) == "returned 'escaped'"


def test_attack_that_works_is_reported() -> None:
    works = Attack("compute", "return 'escaped'")
    assert python_failures((works,)) == ["compute: returned 'escaped'"]
    assert sql_failures((SqlAttack("read", "SELECT 1"),)) == ["read: ((1,),)"]


def _ceilings() -> list[Ceiling]:
    """Every older kernel that this one can be, with and without namespaces."""
    return [Ceiling(version, namespaces) for version in range(1, landlock.abi() + 1) for namespaces in (True, False)]


@pytest.mark.slow
@pytest.mark.parametrize("ceiling", _ceilings(), ids=str)
def test_attacks_are_stopped_on_older_kernels_and_without_namespaces(ceiling: Ceiling) -> None:
    assert python_failures(PYTHON_ATTACKS, ceiling) == []


LAYERS = tuple(one for one in PYTHON_ATTACKS if one in FILES + SIGNALS)


@pytest.mark.parametrize("ceiling", _ceilings(), ids=str)
def test_files_and_signals_are_held_without_what_newer_kernels_add(ceiling: Ceiling) -> None:
    with PythonSandbox(ATTACK_LIMITS, ceiling=ceiling) as sandbox:
        isolation = sandbox._zygote.isolation
    assert isolation is not None
    assert (isolation.landlock_abi, isolation.namespaces and ceiling.namespaces) == (
        ceiling.landlock_abi,
        isolation.namespaces,
    )
    assert python_failures(LAYERS, ceiling) == []


EMPTY = """
import os
def f(path, flags):
    os.close(os.open(path, flags))
"""


@pytest.mark.parametrize("ceiling", [WEAKEST, Ceiling(2), Ceiling(3)], ids=str)
def test_file_that_a_program_may_read_keeps_its_content_whatever_flags_it_is_opened_with(
    ceiling: Ceiling, tmp_path: Path
) -> None:
    path = tmp_path / "library.py"
    path.write_text("content")
    flags = [os.O_RDONLY, *(1 << bit for bit in range(23) if 1 << bit not in READING), os.O_TRUNC | os.O_RDWR]
    ends = []
    with PythonSandbox(ATTACK_LIMITS, ceiling=ceiling) as sandbox:
        for value in flags:
            with sandbox._zygote.session("python", ATTACK_LIMITS, [path]) as session:
                running = Running(session, EMPTY, 5.0)
                ends.append(running.call("f", [str(path), value], 2.0).outcome)
    assert ends == ["returned"] + ["raised"] * (len(flags) - 1)
    assert path.read_text() == "content"


READING = {os.O_NONBLOCK, os.O_CLOEXEC, os.O_NOCTTY, os.O_NOFOLLOW, 0o100000, 0o200000, 0o400000, 0o40000}
"""Flags that change nothing, and those that the two machines number differently."""


@pytest.mark.slow
@pytest.mark.parametrize("language", ["python", "sql"])
def test_preflight_passes_here(language: str) -> None:
    preflight(language)


def test_preflight_raises_with_what_got_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sandbox.battery.PYTHON_ATTACKS", (Attack("compute", "return 'escaped'"),))
    with pytest.raises(PreflightError, match="1 of 1 attacks were not stopped .*\ncompute: returned 'escaped'"):
        preflight.__wrapped__("python")


ONLY_THE_SANDBOX_STOPS = (
    """
read /etc/passwd|read a secret file|read this project|read the caller's environment|read its own memory map
list the root folder|write a file|overwrite a secret file|cut a secret file|open a secret file to all
link to a secret file|rename a secret file|make a folder|make a file in memory|send by UDP|listen on a port|fork
run a command|spawn|signal the caller|limit the caller
hold the caller by descriptor|find secrets in the environment
empty a file that it may read|make a file that it may read|hold a path by descriptor|open a folder without a name in it
own a pipe for a victim|own a pipe for a victim by F_SETOWN_EX|choose the signal of a pipe|have a pipe send signals
have a pipe send signals by ioctl|lock a file|grow a pipe|session of a victim|group of a victim
processors of a victim|clock of a victim|see a secret file|see whether it may|see the caller|see the victim
see where links lead|see the machine's name
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
UNGUARDED = """
import json, os, sys
ends = {}
for name, program, target in json.load(sys.stdin):
    scope = {}
    try:
        exec(program, scope)
        ends[name] = scope["attack"](target)
    except BaseException as error:
        ends[name] = repr(error)
json.dump(ends, sys.stdout)
"""


def test_attacks_work_where_nothing_stops_them(tmp_path: Path) -> None:
    """So that the sandbox stops the attack and not a mistake in it."""
    attacks = {attack.name: attack for attack in PYTHON_ATTACKS}
    jobs = []
    with victim() as alive:
        for number, name in enumerate(ONLY_THE_SANDBOX_STOPS):
            folder = tmp_path / str(number)
            folder.mkdir()
            jobs.append((name, attacks[name].program, make_target(folder, alive.pid)))
        command = [sys.executable, "-c", UNGUARDED]
        done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(ONLY_THE_SANDBOX_STOPS, "escaped")
