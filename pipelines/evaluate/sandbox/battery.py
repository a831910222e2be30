"""Attacks the sandbox of this machine before anything is scored in it."""

import os
import re
import secrets
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from pipelines.evaluate.sandbox.limits import Limits
from pipelines.evaluate.sandbox.protocol import RETURNED
from pipelines.evaluate.sandbox.python_attacks import PYTHON_ATTACKS, Attack
from pipelines.evaluate.sandbox.python_sandbox import NOT_RUN, CallReply, PythonSandbox
from pipelines.evaluate.sandbox.sql_attacks import SCRIPT, SQL_ATTACKS, SqlAttack
from pipelines.evaluate.sandbox.sql_sandbox import SqlSandbox

ATTACK_LIMITS = Limits(memory_bytes=256 << 20)
SQL_CPU_S = 0.2


class PreflightError(RuntimeError):
    """Attacks that were not stopped as they must be."""


@cache
def preflight(language: Literal["python", "sql"]) -> None:
    """Runs every attack of a language in a sandbox of its own, once in a process that asks.

    Raises:
        PreflightError: some attack was not stopped; the message lists them with what became of them.
        SandboxUnavailableError: this machine cannot isolate.
    """
    if language == "python":
        total, failures = len(PYTHON_ATTACKS), python_failures(PYTHON_ATTACKS)
    else:
        total, failures = len(SQL_ATTACKS), sql_failures(SQL_ATTACKS)
    if failures:
        raise PreflightError(
            f"{len(failures)} of {total} attacks were not stopped as they must be, so "
            "nothing that a model wrote is run on this machine:\n" + "\n".join(failures)
        )


def python_failures(attacks: tuple[Attack, ...]) -> list[str]:
    """What became of each attack that was not stopped; [] where all were."""
    failures = []
    with tempfile.TemporaryDirectory() as folder, PythonSandbox(ATTACK_LIMITS) as sandbox:
        facts = make_facts(Path(folder))
        before = _contents(Path(folder))
        _answer_once(sandbox)
        for attack in attacks:
            reply = run_attack(sandbox, attack, facts)
            ending = describe(reply)
            if not re.match(attack.expected, ending):
                failures.append(f"{attack.name}: {ending}")
        if _contents(Path(folder)) != before:
            failures.append("some attack wrote a file that is not its own")
    return failures


def sql_failures(attacks: tuple[SqlAttack, ...]) -> list[str]:
    """What became of each attack that was not stopped; [] where all were."""
    with SqlSandbox(cpu_s=SQL_CPU_S) as sandbox:
        replies = [(attack, sandbox.run(SCRIPT, attack.query)) for attack in attacks]
    return [
        f"{attack.name}: {reply.error or reply.rows[:3]}"
        for attack, reply in replies
        if not re.search(attack.expected, reply.error)
    ]


def make_facts(folder: Path) -> dict[str, object]:
    """What attacks are told, with a secret in `folder`."""
    secret = folder / "secret"
    secret.write_text("kept")
    return {"caller": os.getpid(), "secret": str(secret), "folder": str(folder), "source": str(Path(__file__))}


def run_attack(sandbox: PythonSandbox, attack: Attack, facts: dict[str, object]) -> CallReply:
    """What became of the attack's call, or of its program where that already ended."""
    reply = sandbox.call(attack.program, "attack", [[facts]], cpu_s=attack.cpu_s)
    return reply.load if reply.calls[0].outcome == NOT_RUN or reply.load.outcome != RETURNED else reply.calls[0]


def describe(reply: CallReply) -> str:
    """ "outcome text", which attacks' expectations are matched against."""
    return f"{reply.outcome} {repr(reply.value)[:100] if reply.outcome == RETURNED else reply.error}"


def _answer_once(sandbox: PythonSandbox) -> None:
    """A reference solution in the same sandbox, whose answer later programs look for in their memory."""
    answer = f"answer:{secrets.token_hex(16)}"
    sandbox.call("def solve(text): return text", "solve", [[answer]] * 20, cpu_s=5.0)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*")}
