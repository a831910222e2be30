"""Held-out text-to-SQL questions with the databases they are asked of.

questions.parquet   QUESTIONS
databases.parquet   DATABASES: the SQL script that makes each database
"""

from pathlib import Path

import pyarrow as pa

from pipelines.artifacts.formats.parquet import read_table, write_table

QUESTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("database_id", pa.string(), nullable=False),
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("difficulty", pa.string(), nullable=False),
    ]
)
"""`prompt`: schema and question as a training document has them, up to the start of the query; `query`: the gold SQL;
`kind`: the shape of the query, such as count, filter, join, group, nested; `difficulty`: easy, medium, hard or extra by
Spider's rules."""

DATABASES = pa.schema(
    [
        pa.field("database_id", pa.string(), nullable=False),
        pa.field("script", pa.large_string(), nullable=False),
    ]
)
DIFFICULTIES = ("easy", "medium", "hard", "extra")
"""Spider's levels, the easiest first."""
QUERY_END = ";"
"""A generated query ends here."""


def write_questions(questions: list[dict[str, str]], databases: list[dict[str, str]], folder: Path) -> None:
    """Write both tables under the output folder of `source`."""
    write_table(pa.Table.from_pylist(questions, schema=QUESTIONS), folder / "questions.parquet")
    write_table(pa.Table.from_pylist(databases, schema=DATABASES), folder / "databases.parquet")


def read_questions(folder: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Questions in order, and script by database id."""
    questions = read_table(folder / "questions.parquet").to_pylist()
    databases = read_table(folder / "databases.parquet").to_pylist()
    return questions, {row["database_id"]: row["script"] for row in databases}


def has_questions(folder: Path) -> bool:
    """Whether this corpus brings questions."""
    return (folder / "questions.parquet").is_file()
