"""Every attack is stopped, each in its own way; and the attacks are real."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.evaluate.sandbox import PreflightError, PythonSandbox, preflight
from pipelines.evaluate.sandbox.battery import (
    ATTACK_LIMITS,
    describe,
    make_facts,
    python_failures,
    run_attack,
    sql_failures,
)
from pipelines.evaluate.sandbox.lockdown import Isolation
from pipelines.evaluate.sandbox.python_attacks import CHEATS, PYTHON_ATTACKS, Attack
from pipelines.evaluate.sandbox.sql_attacks import SqlAttack


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    with PythonSandbox(ATTACK_LIMITS) as sandbox:
        yield sandbox


@pytest.mark.parametrize("attack", PYTHON_ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_stopped(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    if attack.needs and not getattr(sandbox.isolation, attack.needs):
        pytest.skip(f"this machine has no {attack.needs}")
    reply = run_attack(sandbox, attack, make_facts(tmp_path))
    assert re.match(attack.expected, describe(reply))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "attack", [attack for attack in CHEATS if attack.name.startswith("find the answers")], ids=lambda one: one.name
)
def test_search_for_answers_finds_one_that_is_there(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    facts = make_facts(tmp_path) | {"answers": ["answer:" + "0123456789abcdef" * 2]}
    assert describe(run_attack(sandbox, attack, facts)) == "returned 'escaped'"


OLDEST = Isolation(landlock_abi=1, seccomp=True, namespaces=False, mounts=False)
"""Linux 5.13 in a container without user namespaces."""
ARGUMENTS = [
    attack
    for attack in PYTHON_ATTACKS
    if attack.name.startswith(
        ("open", "have the kernel", "lock", "fill memory with", "cut", "signal", "watch", "connect")
    )
]
"""Attacks that later kernels, or namespaces, stop as well."""


def test_the_oldest_kernel_stops_what_later_ones_stop_twice() -> None:
    assert len(ARGUMENTS) > 25
    assert python_failures(tuple(ARGUMENTS), OLDEST) == []


@pytest.mark.slow
@pytest.mark.parametrize("namespaces", [False, True])
@pytest.mark.parametrize("landlock_abi", range(1, 8))
def test_whole_battery_on_every_kernel(landlock_abi: int, namespaces: bool) -> None:
    """Every version of landlock up to this kernel's, with and without namespaces."""
    for mounts in (False, True)[: 1 + namespaces]:
        assert python_failures(PYTHON_ATTACKS, Isolation(landlock_abi, True, namespaces, mounts)) == []


def test_protections_can_be_left_out_to_try_older_machines_and_are_not_made_up() -> None:
    with PythonSandbox(most=OLDEST) as oldest, PythonSandbox() as newest:
        assert oldest.isolation == OLDEST
        assert newest.isolation.landlock_abi <= 100


def test_attack_that_works_is_reported() -> None:
    works = Attack("compute", "return 'escaped'")
    assert python_failures((works,)) == ["compute: returned 'escaped'"]
    assert sql_failures((SqlAttack("read", "SELECT 1"),)) == ["read: ((1,),)"]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["python", "sql"])
def test_preflight_passes_here(language: str) -> None:
    preflight(language)


def test_preflight_raises_with_what_got_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.evaluate.sandbox.battery.PYTHON_ATTACKS", (Attack("compute", "return 'escaped'"),))
    with pytest.raises(PreflightError, match="1 of 1 attacks were not stopped .*\ncompute: returned 'escaped'"):
        preflight.__wrapped__("python")


ONLY_THE_SANDBOX_STOPS = (
    """
read /etc/passwd|read a secret file|read this project|read the caller's environment|read its own memory map
list the root folder|write a file|overwrite a secret file|cut a secret file|open a secret file to all
link to a secret file|rename a secret file|make a folder|make a file in memory|send by UDP|listen on a port|fork
run a command|spawn|signal the caller|limit the caller
hold the caller by descriptor|find secrets in the environment
open what may be read with O_TRUNC|open what may be read with O_CREAT|open what may be read with O_ASYNC
open what may be read with O_PATH|open a folder that may not be read by O_PATH
have the kernel signal the caller: F_SETOWN|have the kernel signal the caller: F_SETOWN_EX
have the kernel signal the caller: F_SETSIG|have the kernel signal the caller: O_ASYNC
have the kernel signal the caller: FIOASYNC
have the kernel signal the caller: F_NOTIFY|lock a file of the library|fill memory with pipes
watch the caller's CPU time
see whether a secret file exists|see when this project was changed|see who runs the caller|see the machine's processes
see where a link leads|see the session of the caller|see the group of the caller|see the host's name
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
UNGUARDED = """
import json, os, sys
ends = {}
for name, program, facts in json.load(sys.stdin):
    scope = {}
    try:
        exec(program, scope)
        ends[name] = scope["attack"](facts)
    except BaseException as error:
        ends[name] = repr(error)
json.dump(ends, sys.stdout)
"""


def test_attacks_work_where_nothing_stops_them(tmp_path: Path) -> None:
    """So that what the sandbox stops is the attack and not a mistake in it."""
    attacks = {attack.name: attack for attack in PYTHON_ATTACKS}
    jobs = []
    for number, name in enumerate(ONLY_THE_SANDBOX_STOPS):
        folder = tmp_path / str(number)
        folder.mkdir()
        jobs.append((name, attacks[name].program, make_facts(folder)))
    command = [sys.executable, "-c", UNGUARDED]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(ONLY_THE_SANDBOX_STOPS, "escaped")
