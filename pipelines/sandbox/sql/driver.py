"""The process that runs one query: SQLite may read one database, and call the functions that questions need."""

import json
import marshal
import sqlite3
from typing import Any
from urllib.parse import quote

from pipelines.sandbox.protocol import receive, send
from pipelines.sandbox.values import encode

HEAP_BYTES = 256 << 20
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
"""SQL functions that questions need. Left out on purpose: printf and format (one call can run for half a minute), char,
randomblob, zeroblob, random, load_extension and all functions that a build of SQLite adds."""


def serve(requests: int, replies: int) -> None:
    """Answers one request: {"script" or "path", "query", "max_rows", "text_errors"}."""
    request = marshal.loads(receive(requests))
    try:
        connection = _connect(request)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        reply: dict[str, Any] = {"broken": str(error)}
    else:
        reply = _answer(connection, request["query"], request["max_rows"])
    send(replies, json.dumps(reply).encode())


def _connect(request: dict[str, Any]) -> sqlite3.Connection:
    """The database, open to nothing but reading."""
    if "path" in request:
        # `Path.as_uri` imports modules on Python 3.13, and nothing can be imported here any more.
        connection = sqlite3.connect(f"file:{quote(request['path'])}?mode=ro&immutable=1", uri=True)
        connection.execute("SELECT COUNT(*) FROM sqlite_master")
    else:
        connection = sqlite3.connect(":memory:")
        connection.executescript(request["script"])
    connection.text_factory = lambda raw: raw.decode("utf-8", request["text_errors"])
    connection.executescript(f"PRAGMA temp_store = MEMORY; PRAGMA hard_heap_limit = {HEAP_BYTES};")
    for limit, value in LIMITS.items():
        connection.setlimit(limit, value)
    connection.set_authorizer(_authorize)
    return connection


def _answer(connection: sqlite3.Connection, query: str, max_rows: int) -> dict[str, Any]:
    try:
        cursor = connection.execute(query)
        rows = cursor.fetchmany(max_rows + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "out of memory"}
    if len(rows) > max_rows:
        return {"error": f"more than {max_rows} rows"}
    return {"columns": len(cursor.description or ()), "rows": [[encode(value) for value in row] for row in rows]}


def _authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    allowed = action in ACTIONS or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
