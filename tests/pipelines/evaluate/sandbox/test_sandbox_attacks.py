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
from pipelines.evaluate.sandbox.python_attacks import CHEATS, PYTHON_ATTACKS, Attack
from pipelines.evaluate.sandbox.sql_attacks import SqlAttack


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonSandbox]:
    with PythonSandbox(ATTACK_LIMITS) as sandbox:
        yield sandbox


@pytest.mark.parametrize("attack", PYTHON_ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_stopped(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    reply = run_attack(sandbox, attack, make_facts(tmp_path))
    assert re.match(attack.expected, describe(reply))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "attack", [attack for attack in CHEATS if attack.name.startswith("find the answers")], ids=lambda one: one.name
)
def test_search_for_answers_finds_one_that_is_there(sandbox: PythonSandbox, attack: Attack, tmp_path: Path) -> None:
    facts = make_facts(tmp_path) | {"answers": ["answer:" + "0123456789abcdef" * 2]}
    assert describe(run_attack(sandbox, attack, facts)) == "returned 'escaped'"


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
