"""SQL that a model wrote can read its database and do nothing else."""

from pathlib import Path

import pytest

from pipelines.evaluate.sql_sandbox import Reply, SqlSandbox

SCRIPT = """
CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT, age REAL, photo BLOB);
INSERT INTO pets VALUES (1, 'Ada', 2.5, NULL), (2, 'Bo', 7, x'00ff'), (3, 'Cy', 7, NULL);
"""
FOREVER = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)"


@pytest.fixture(scope="module")
def sandbox():
    with SqlSandbox(cpu_s=0.3) as sandbox:
        yield sandbox


def test_rows_come_back_as_plain_values(sandbox: SqlSandbox) -> None:
    reply = sandbox.run(SCRIPT, "SELECT id, name, age, photo FROM pets ORDER BY id LIMIT 2")
    assert reply == Reply(4, ((1, "Ada", 2.5, None), (2, "Bo", 7.0, ("blob", "00ff"))))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT p.name, COUNT(*) FROM pets p JOIN pets q ON p.age = q.age GROUP BY p.name HAVING COUNT(*) > 1",
        "SELECT name FROM pets WHERE age = (SELECT MAX(age) FROM pets) UNION SELECT 'x'",
        "WITH old AS (SELECT * FROM pets WHERE age > 5) SELECT ROUND(AVG(age), 1), UPPER(MIN(name)) FROM old",
        "SELECT name, RANK() OVER (ORDER BY age DESC) FROM pets WHERE name LIKE 'A%' OR age BETWEEN 1 AND 9",
        "SELECT strftime('%Y', '2026-11-21'), CAST(age AS INTEGER), name || '!' FROM pets",
    ],
)
def test_what_questions_need_is_allowed(sandbox: SqlSandbox, query: str) -> None:
    reply = sandbox.run(SCRIPT, query)
    assert reply.rows
    assert not reply.error


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE pets",
        "DELETE FROM pets",
        "INSERT INTO pets VALUES (9, 'x', 1, NULL)",
        "UPDATE pets SET age = 0",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ATTACH '/tmp/stolen.db' AS stolen",
        "VACUUM INTO '/tmp/stolen.db'",
        "PRAGMA table_info(pets)",
        "PRAGMA hard_heap_limit = 0",
        "BEGIN",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "SELECT format('%.*c', 1000000000, 'x')",
        "SELECT char(65)",
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(1000000000)",
        "SELECT random()",
        "SELECT readfile('/etc/passwd')",
        "SELECT 1; SELECT 2",
        "SELECT no_such_column FROM pets",
        "SELEC",
        "\x00",
        "SELECT 'a" + "a" * 30_000 + "'",
        f"{FOREVER} SELECT n FROM t LIMIT 20000",
        f"{FOREVER} SELECT group_concat('{'x' * 900}') FROM (SELECT n FROM t LIMIT 5000)",
    ],
)
def test_everything_else_is_refused_and_the_child_lives_on(sandbox: SqlSandbox, query: str) -> None:
    child = sandbox._running().pid
    reply = sandbox.run(SCRIPT, query)
    assert reply.error
    assert reply.error != "timeout"
    assert sandbox.run(SCRIPT, "SELECT COUNT(*) FROM pets").rows == ((3,),)
    assert sandbox._running().pid == child


@pytest.mark.parametrize(
    "query", [f"{FOREVER} SELECT COUNT(*) FROM t", f"{FOREVER} SELECT * FROM t a, t b, t c WHERE a.n < 0"]
)
def test_endless_query_is_interrupted_by_its_own_cpu_time(sandbox: SqlSandbox, query: str) -> None:
    assert sandbox.run(SCRIPT, query) == Reply(error="timeout")
    assert sandbox.run(SCRIPT, "SELECT 1").rows == ((1,),)


def test_call_that_sqlite_cannot_interrupt_is_killed_and_the_child_replaced(sandbox: SqlSandbox) -> None:
    child = sandbox._running().pid
    long = f"replace('{'a' * 900}', 'a', '{'a' * 1000}')"
    half = f"replace('{'a' * 450}', 'a', '{'a' * 1000}') || 'b'"
    calls = " + ".join([f"instr({long}, {half})"] * 4)
    assert sandbox.run(SCRIPT, f"SELECT {calls}") == Reply(error="timeout")
    assert sandbox.run(SCRIPT, "SELECT 1").rows == ((1,),)
    assert sandbox._running().pid != child


def test_child_has_no_environment_and_is_gone_afterwards() -> None:
    with SqlSandbox() as sandbox:
        sandbox.run(SCRIPT, "SELECT 1")
        child = sandbox._running()
        assert Path(f"/proc/{child.pid}/environ").read_bytes() == b""
    assert child.poll() is not None


def test_broken_database_script_is_told_apart_from_a_wrong_query(sandbox: SqlSandbox) -> None:
    assert "process ended" in sandbox.run("CREATE TABLE (", "SELECT 1").error
