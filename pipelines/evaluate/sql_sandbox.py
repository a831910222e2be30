"""The parent's side of the SQL child: ask, wait, and replace a child that was killed."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CHILD = Path(__file__).with_name("sql_child.py")
CPU_S = 2.0
"""CPU seconds of one query. CPU time, not wall time, so that a busy machine changes no verdict."""
WALL_S = 120.0
"""Last resort for a child that hangs without using its CPU."""

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Reply:
    """What a query gave: its rows, or why there are none ("timeout" or SQLite's own words)."""

    columns: int = 0
    rows: tuple[Row, ...] = ()
    error: str = ""


class SqlSandbox:
    """Runs queries in a child without files, with little memory and bounded CPU time. A context manager."""

    def __init__(self, cpu_s: float = CPU_S) -> None:
        self._cpu_s = cpu_s
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> "SqlSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, script: str, query: str) -> Reply:
        """The reply to `query` on a fresh database made by `script`."""
        child = self._running()
        timer = threading.Timer(WALL_S, child.kill)
        timer.start()
        try:
            line = _exchange(child, {"script": script, "query": query, "cpu_s": self._cpu_s})
        finally:
            timer.cancel()
        return _reply(json.loads(line)) if line else self._killed()

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env={},
                cwd="/",
                start_new_session=True,
            )
        return self._child

    def _killed(self) -> Reply:
        """What became of the child; the next query gets another."""
        assert self._child is not None
        code = self._child.wait()
        self._stop()
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Reply(error="timeout")
        return Reply(error=f"the query's process ended with {code}")

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _exchange(child: subprocess.Popen[str], job: dict[str, Any]) -> str:
    """The child's line, or "" where it died."""
    requests, replies = _pipes(child)
    try:
        requests.write(json.dumps(job) + "\n")
        requests.flush()
    except BrokenPipeError:
        return ""
    return replies.readline()


def _pipes(child: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert child.stdin is not None
    assert child.stdout is not None
    return child.stdin, child.stdout


def _reply(fields: dict[str, Any]) -> Reply:
    if "rows" not in fields:
        return Reply(error="timeout" if "timeout" in fields else fields["error"])
    return Reply(fields["columns"], tuple(tuple(_hashable(value) for value in row) for row in fields["rows"]))


def _hashable(value: object) -> object:
    return ("blob", value["blob"]) if isinstance(value, dict) else value
