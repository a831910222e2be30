"""Attacks the sandbox of this machine before anything is scored in it."""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Literal

from arctic_errors import ArcticError
from pipelines.sandbox.confinement import numpy_package
from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.protocol import RETURNED
from pipelines.sandbox.python.attacks import PYTHON_ATTACKS, Attack
from pipelines.sandbox.python.numpy_attacks import NUMPY_ATTACKS
from pipelines.sandbox.python.sandbox import NOT_RUN, CallReply, PythonSandbox
from pipelines.sandbox.session import ALL, ENVIRONMENT
from pipelines.sandbox.sql.attacks import SCRIPT, SQL_ATTACKS, SqlAttack
from pipelines.sandbox.sql.sandbox import SqlSandbox

ATTACK_LIMITS = Limits(memory_bytes=256 << 20)
SQL_CPU_S = 0.2
WEAKEST = Ceiling(landlock_abi=1, namespaces=False)
"""The least that a sandbox is used with. Protection here must not depend on features of newer kernels, so that a
machine that lacks them, or loses them by an update of its settings, is as safe."""
CEILINGS = {ALL: "with all that this machine offers", WEAKEST: "with landlock's first ABI and without namespaces"}
VICTIM = "import sys; sys.stdin.read()"


class PreflightError(ArcticError, RuntimeError):
    """Attacks that were not stopped as they must be."""


@cache
def preflight(language: Literal["python", "sql"], numpy: bool = False) -> None:
    """Runs every attack of a language in a sandbox with all features of this machine, and in one with those of the
    oldest kernel that is allowed, once per process. With `numpy`, programs can import it, and attacks use it too.

    Raises:
        PreflightError: some attack was not stopped; the message lists them with their outcomes.
        SandboxUnavailableError: this machine cannot isolate.
    """
    if language == "python":
        attacks = PYTHON_ATTACKS + NUMPY_ATTACKS if numpy else PYTHON_ATTACKS
        total, attack = len(attacks), partial(python_failures, attacks, numpy=numpy)
    else:
        total, attack = len(SQL_ATTACKS), partial(sql_failures, SQL_ATTACKS)
    with ThreadPoolExecutor(len(CEILINGS)) as pool:
        for words, failures in zip(CEILINGS.values(), pool.map(attack, CEILINGS), strict=True):
            if failures:
                raise PreflightError(
                    f"{len(failures)} of {total} attacks were not stopped as they must be {words}, so "
                    "nothing that a model wrote is run on this machine:\n" + "\n".join(failures)
                )


def python_failures(attacks: tuple[Attack, ...], ceiling: Ceiling = ALL, numpy: bool = False) -> list[str]:
    """The outcome of each attack that was not stopped; [] if all were."""
    failures = []
    with (
        tempfile.TemporaryDirectory() as folder,
        victim() as alive,
        PythonSandbox(ATTACK_LIMITS, ceiling=ceiling, numpy=numpy) as sandbox,
    ):
        target = make_target(Path(folder), alive.pid)
        before = _contents(Path(folder)), _numpy_files()
        _answer_once(sandbox)
        for attack in attacks_for(sandbox, attacks):
            reply = run_attack(sandbox, attack, target)
            ending = describe(reply)
            if not re.match(attack.expected, ending):
                failures.append(f"{attack.name}: {ending}")
        if (_contents(Path(folder)), _numpy_files()) != before:
            failures.append("some attack wrote a file that is not its own")
        if alive.poll() is not None:
            failures.append("some attack ended a process that is not its own")
    return failures


def attacks_for(sandbox: PythonSandbox, attacks: tuple[Attack, ...]) -> list[Attack]:
    """Attacks that this sandbox must stop: all, or all except those that only see metadata."""
    return [attack for attack in attacks if sandbox.has_own_root or not attack.needs_own_root]


@contextmanager
def victim() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this user that attacks try to reach. Ends on leaving."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", VICTIM], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def sql_failures(attacks: tuple[SqlAttack, ...], ceiling: Ceiling = ALL) -> list[str]:
    """The outcome of each attack that was not stopped; [] if all were."""
    with SqlSandbox(cpu_s=SQL_CPU_S, ceiling=ceiling) as sandbox:
        replies = [(attack, sandbox.run(SCRIPT, attack.query)) for attack in attacks]
    return [
        f"{attack.name}: {reply.error or reply.rows[:3]}"
        for attack, reply in replies
        if not re.search(attack.expected, reply.error)
    ]


def make_target(folder: Path, victim_id: int) -> dict[str, object]:
    """The arguments of attacks, with a secret in `folder`."""
    secret = folder / "secret"
    secret.write_text("kept")
    return {
        "caller": os.getpid(),
        "victim": victim_id,
        "host": os.uname().nodename,
        "secret": str(secret),
        "folder": str(folder),
        "source": str(Path(__file__)),
        "environment": [*ENVIRONMENT, *numpy_package.ENVIRONMENT, "LC_CTYPE"],
        "numpy": str(numpy_package.home() or "") + f"/{numpy_package.PACKAGE}",
    }


def run_attack(sandbox: PythonSandbox, attack: Attack, target: dict[str, object]) -> CallReply:
    """The outcome of the attack's call, or of its program if that already ended."""
    reply = sandbox.call(attack.program, "attack", [[target]], cpu_s=attack.cpu_s)
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


def _numpy_files() -> dict[str, tuple[int, int, int]]:
    """Size, mode and time of each, if there is numpy, except compiled modules, which others may write meanwhile."""
    home = numpy_package.home()
    folders = [home / name for name in (numpy_package.PACKAGE, numpy_package.LIBRARIES)] if home else []
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file()]
    found = {str(path): path.stat() for path in paths}
    return {path: (each.st_size, each.st_mode, each.st_mtime_ns) for path, each in found.items()}
