"""The process that runs SQL which a model wrote: `python -I -S sql_child.py`, standard library only.

One job of JSON a line in, one answer of plain values a line out. The database is made anew in memory for each job,
and from then on SQLite may only read it. What SQLite cannot stop by itself (a C function that runs for minutes, as
`LIKE` with many wildcards can) the kernel stops by the CPU limit; the parent then starts another child.
"""

import json
import resource
import sqlite3
import sys
import time
from typing import Any

MEMORY_BYTES = 512 << 20
HEAP_BYTES = 256 << 20
MAX_ROWS = 10_000
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 20_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 100_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
}
ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
FUNCTIONS = frozenset(
    """
    abs avg ceil ceiling coalesce concat count cume_dist date datetime dense_rank first_value floor glob group_concat
    ifnull iif instr julianday lag last_value lead length like lower ltrim max min nth_value ntile nullif percent_rank
    quote rank replace round row_number rtrim sign strftime substr substring sum time total trim typeof unicode upper
    """.split()  # noqa: SIM905 - a paragraph instead of fifty lines
)
"""What questions need. Left out on purpose: printf and format (one call can run for half a minute), char, randomblob,
zeroblob, random, load_extension and whatever a build of SQLite adds."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def answer(script: str, query: str, cpu_s: float) -> dict[str, Any]:
    """{"columns", "rows"} of `query` on the database that `script` makes, or {"error"}, or {"timeout"}."""
    connection = sqlite3.connect(":memory:")
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.executescript(script)
    connection.executescript(f"PRAGMA temp_store = MEMORY; PRAGMA hard_heap_limit = {HEAP_BYTES};")
    for limit, value in LIMITS.items():
        connection.setlimit(limit, value)
    deadline = time.process_time() + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (int(deadline) + 2, resource.RLIM_INFINITY))
    connection.set_progress_handler(lambda: time.process_time() > deadline, 10_000)
    connection.set_authorizer(_authorize)
    try:
        cursor = connection.execute(query)
        rows = cursor.fetchmany(MAX_ROWS + 1)
        columns = len(cursor.description or ())
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return {"timeout": True} if time.process_time() > deadline else {"error": str(error)}
    except MemoryError:
        return {"error": "out of memory"}
    finally:
        connection.set_progress_handler(None, 0)
        connection.close()
    if len(rows) > MAX_ROWS:
        return {"error": f"more than {MAX_ROWS} rows"}
    return {"columns": columns, "rows": [[_plain(value) for value in row] for row in rows]}


def _authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    allowed = action in ACTIONS or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _plain(value: object) -> object:
    return {"blob": value.hex()} if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
