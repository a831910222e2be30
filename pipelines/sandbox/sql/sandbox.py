"""Runs SQL that a model wrote, each query in a fresh process that can do nothing but read one database."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.protocol import ASLEEP, RETURNED, TIMEOUT
from pipelines.sandbox.session import ALL, Answer, Zygote
from pipelines.sandbox.values import Plain, PlainError, decode

CPU_S = 2.0
"""CPU seconds of one query with its database. CPU time, not wall time, so that a busy machine changes no verdict."""
MAX_ROWS = 10_000
SQL_LIMITS = Limits(memory_bytes=512 << 20, num_open_files=16, num_threads=1)

Row = tuple[Plain, ...]


@dataclass(frozen=True)
class Reply:
    """The result of a query: its rows (None, int, float, str, bytes), or the reason why there are none ("timeout",
    "more than 10000 rows", SQLite's own words or how its process ended)."""

    columns: int = 0
    rows: tuple[Row, ...] = ()
    error: str = ""


class SqlSandbox:
    """Runs queries on databases that they can only read, without files, with little memory and bounded CPU time.

    A context manager; one query at a time.

    Args:
        cpu_s: CPU seconds of one query.
        max_rows: a query with more is an error.
        text_errors: handling of text that is not UTF-8, as in `bytes.decode`. Spider's evaluator ignores it.
        unsafe, ceiling: as for `PythonSandbox`.

    Raises:
        SandboxUnavailableError: as for `PythonSandbox`.
    """

    def __init__(
        self,
        cpu_s: float = CPU_S,
        max_rows: int = MAX_ROWS,
        text_errors: str = "replace",
        unsafe: str = "",
        ceiling: Ceiling = ALL,
    ) -> None:
        self._cpu_s = cpu_s
        self._options = {"max_rows": max_rows, "text_errors": text_errors}
        self._limits = replace(SQL_LIMITS, total_cpu_s=int(cpu_s) + 2)
        self._zygote = Zygote(unsafe, ceiling)

    def __enter__(self) -> "SqlSandbox":
        self._zygote.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._zygote.stop()

    def run(self, script: str, query: str) -> Reply:
        """The reply to `query` on a fresh database in memory, made by `script`."""
        return self._ask({"script": script, "query": query}, [])

    def run_file(self, database: Path, query: str) -> Reply:
        """The reply to `query` on an SQLite file, which is opened read-only and taken as immutable.

        Raises FileNotFoundError if there is none.
        """
        path = database.resolve(strict=True)
        return self._ask({"path": str(path), "query": query}, [path])

    def _ask(self, request: dict[str, Any], readable: list[Path]) -> Reply:
        with self._zygote.session("sql", self._limits, readable) as session:
            return _reply(session.ask(request | self._options, self._cpu_s))


def _reply(answer: Answer) -> Reply:
    if answer.outcome != RETURNED:
        return Reply(error="timeout" if answer.outcome in (TIMEOUT, ASLEEP) else f"{answer.outcome}: {answer.error}")
    match answer.reply:
        case {"columns": int(columns), "rows": list(rows)}:
            try:
                return Reply(columns, tuple(map(tuple, decode(rows))))
            except PlainError as error:
                return Reply(error=str(error))
        case {"error": str(error)}:
            return Reply(error=error)
        case {"broken": str(error)}:
            return Reply(error=f"the database itself is broken: {error}")
    return Reply(error="the reply is not one of ours")
