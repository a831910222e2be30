"""Queries that try to change their database, to leave it, or to run for ever, with the expected outcome of each."""

from dataclasses import dataclass

SCRIPT = """
CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT, age REAL);
INSERT INTO pets VALUES (1, 'Ada', 2.5), (2, 'Bo', 7), (3, 'Cy', 7);
"""
FOREVER = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)"
REFUSED = "not authorized|authorization denied|no such function|You can only execute one"
TOO_BIG = "too big|out of memory|too long|too large"


@dataclass(frozen=True)
class SqlAttack:
    """`expected`: a pattern in the reply's error."""

    name: str
    query: str
    expected: str = REFUSED


def _searches(times: int) -> str:
    """One call of a C function that SQLite cannot interrupt, `times` times."""
    long = f"replace('{'a' * 900}', 'a', '{'a' * 1000}')"
    half = f"replace('{'a' * 450}', 'a', '{'a' * 1000}') || 'b'"
    return " + ".join([f"instr({long}, {half})"] * times)


SQL_ATTACKS = (
    SqlAttack("drop a table", "DROP TABLE pets"),
    SqlAttack("delete rows", "DELETE FROM pets"),
    SqlAttack("insert a row", "INSERT INTO pets VALUES (9, 'x', 1)"),
    SqlAttack("update rows", "UPDATE pets SET age = 0"),
    SqlAttack("make a table", "CREATE TEMP TABLE t AS SELECT 1"),
    SqlAttack("attach a file", "ATTACH '/tmp/stolen.db' AS stolen"),
    SqlAttack("write a copy", "VACUUM INTO '/tmp/stolen.db'"),
    SqlAttack("write the schema", "PRAGMA writable_schema = 1"),
    SqlAttack("lift the heap's limit", "PRAGMA hard_heap_limit = 0"),
    SqlAttack("read by a pragma function", "SELECT * FROM pragma_table_info('pets')"),
    SqlAttack("begin a transaction", "BEGIN"),
    SqlAttack("load a library", "SELECT load_extension('/tmp/x.so')"),
    SqlAttack("read a file", "SELECT readfile('/etc/passwd')"),
    SqlAttack("bomb by printf", "SELECT printf('%.*c', 1000000000, 'x')"),
    SqlAttack("bomb by format", "SELECT format('%.*c', 1000000000, 'x')"),
    SqlAttack("spell by char", "SELECT char(65)"),
    SqlAttack("blob of zeros", "SELECT zeroblob(1000000000)"),
    SqlAttack("blob of noise", "SELECT randomblob(1000000000)"),
    SqlAttack("second statement", "SELECT 1; SELECT 2"),
    SqlAttack("long query", f"SELECT '{'a' * 30_000}'", TOO_BIG),
    SqlAttack(
        "long string", f"{FOREVER} SELECT group_concat('{'x' * 900}') FROM (SELECT n FROM t LIMIT 5000)", TOO_BIG
    ),
    SqlAttack("too many rows", f"{FOREVER} SELECT n FROM t LIMIT 20000", "more than 10000 rows"),
    SqlAttack("endless recursion", f"{FOREVER} SELECT COUNT(*) FROM t", "timeout"),
    SqlAttack("endless join", f"{FOREVER} SELECT * FROM t a, t b, t c WHERE a.n < 0", "timeout"),
    SqlAttack("call that SQLite cannot interrupt", f"SELECT {_searches(4)}", "timeout"),
)
