"""SQL that a model wrote can read its database and do nothing else."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox import Reply, SqlSandbox
from pipelines.sandbox.battery import SQL_CPU_S
from pipelines.sandbox.sql.attacks import SQL_ATTACKS, SqlAttack

SCRIPT = """
CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT, age REAL, photo BLOB);
INSERT INTO pets VALUES (1, 'Ada', 2.5, NULL), (2, 'Bo', 7, x'00ff'), (3, 'Cy', 7, NULL);
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SqlSandbox]:
    with SqlSandbox(cpu_s=SQL_CPU_S) as sandbox:
        yield sandbox


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "pets of ours?.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCRIPT + "INSERT INTO pets VALUES (4, CAST(x'41ff42' AS TEXT), 1, NULL);")
    connection.close()
    return path


def test_rows_come_back_as_plain_values(sandbox: SqlSandbox) -> None:
    reply = sandbox.run(SCRIPT, "SELECT id, name, age, photo FROM pets ORDER BY id LIMIT 2")
    assert reply == Reply(4, ((1, "Ada", 2.5, None), (2, "Bo", 7.0, b"\x00\xff")))


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


@pytest.mark.parametrize("attack", SQL_ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_stopped(sandbox: SqlSandbox, attack: SqlAttack) -> None:
    reply = sandbox.run(SCRIPT, attack.query)
    assert re.search(attack.expected, reply.error)
    assert not reply.rows


@pytest.mark.parametrize(
    "query", ["SELECT random()", "SELECT no_such_column FROM pets", "SELEC", "\x00", "PRAGMA table_info(pets)"]
)
def test_what_else_is_no_query_is_an_error(sandbox: SqlSandbox, query: str) -> None:
    assert sandbox.run(SCRIPT, query).error not in ("", "timeout")


def test_query_reads_a_database_file_and_leaves_it_alone(sandbox: SqlSandbox, database: Path) -> None:
    database.chmod(0o444)
    before = sorted(database.parent.iterdir()), database.read_bytes()
    assert sandbox.run_file(database, "SELECT name FROM pets WHERE id < 3").rows == (("Ada",), ("Bo",))
    for attack in ("DROP TABLE pets", "UPDATE pets SET age = 0", "PRAGMA journal_mode = DELETE"):
        assert sandbox.run_file(database, attack).error == "not authorized"
    assert (sorted(database.parent.iterdir()), database.read_bytes()) == before


def test_text_that_is_not_utf8_is_read_as_the_caller_says(sandbox: SqlSandbox, database: Path) -> None:
    query = "SELECT name FROM pets WHERE id = 4"
    assert sandbox.run_file(database, query).rows == (("A\ufffdB",),)
    with SqlSandbox(text_errors="ignore") as ignoring:
        assert ignoring.run_file(database, query).rows == (("AB",),)


def test_rows_are_bounded_by_the_caller(database: Path) -> None:
    with SqlSandbox(max_rows=3) as sandbox:
        assert sandbox.run_file(database, "SELECT id FROM pets").error == "more than 3 rows"
        assert len(sandbox.run_file(database, "SELECT id FROM pets LIMIT 3").rows) == 3


@pytest.mark.parametrize("num_rows", [100, 4000])
def test_a_reply_of_any_length_arrives(sandbox: SqlSandbox, num_rows: int) -> None:
    """A long one is tried in a process that lives in the namespace of the query's."""
    query = (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) "
        f"SELECT n, 'a name of some length, ' || n FROM numbers LIMIT {num_rows}"
    )
    reply = sandbox.run("", query)
    assert reply.error == ""
    assert reply.rows == tuple((n, f"a name of some length, {n}") for n in range(1, num_rows + 1))


def test_missing_database_is_the_callers_mistake_and_a_broken_one_is_told_from_a_wrong_query(
    sandbox: SqlSandbox, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        sandbox.run_file(tmp_path / "none.sqlite", "SELECT 1")
    (tmp_path / "torn.sqlite").write_bytes(b"no database" * 100)
    assert sandbox.run_file(tmp_path / "torn.sqlite", "SELECT 1").error.startswith("the database itself is broken")
    assert sandbox.run("CREATE TABLE (", "SELECT 1").error.startswith("the database itself is broken")
