"""A call that blocks the interpreter is ended with a message, and the watch leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.cluster.watch import limited

ROOT = Path(__file__).parents[3]
BLOCKED = "import ctypes; blocked = lambda *args, **options: ctypes.PyDLL(None).sleep(600)\n"
"""A call that keeps the interpreter's lock: no thread and no handler of a signal runs."""


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"PYTHONPATH": str(ROOT), "HOME": str(home)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)


def children() -> list[str]:
    files = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [child for file in files for child in file.read_text().split()]


def test_a_blocked_call_ends_with_the_message(tmp_path: Path):
    ended = run(BLOCKED + "from infra.cluster.watch import limited\nwith limited(0.3, 'too long'): blocked()", tmp_path)
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "too long\n")


def test_a_cluster_that_never_answers_is_named_with_the_remedy(tmp_path: Path):
    code = (
        BLOCKED + "import ray; ray.init = blocked\n"
        "from infra.cluster import connection\n"
        "connection.START_LIMIT_S = 1.0\n"
        "with connection.connect('local'): pass"
    )
    ended = run(code, tmp_path)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr.splitlines()[-1].startswith("local: Ray has not answered for 1 s, so this process was ended.")


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_the_watch_ends_with_the_body(error: type[BaseException] | None):
    before = children()
    try:
        with limited(0.3, "too long"):
            assert len(children()) == len(before) + 1
            if error:
                raise error
    except (ValueError, SystemExit) as raised:
        assert type(raised) is error
    assert children() == before
    time.sleep(0.5)


def test_the_watch_ends_with_a_process_that_is_killed(tmp_path: Path):
    code = (
        "import os, signal; from infra.cluster.watch import limited\n"
        "with limited(600, ''):\n"
        "    print(open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    watch = Path("/proc") / run(code, tmp_path).stdout.strip()
    deadline = time.monotonic() + 10
    while watch.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
