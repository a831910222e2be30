"""The prompt of a Spider question, and the extraction of the query from an answer.

The prompt is DAIL-SQL's code representation with its rule (Gao et al. 2024, arXiv 2308.15363, "CR_P" and "no
explanation"): tables as CREATE TABLE statements with their keys, the question as a comment, and SELECT.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

EXAMPLES_PREFIX = "/* Some SQL examples are provided based on similar problems: */\n"
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FENCED = re.compile(
    r"```(?:sqlite|sql)?\s*((?:--[^\n]*\s+)*(?:SELECT|WITH)\b.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_QUERY = re.compile(r"(?:--[^\n]*\s+)*\(?\s*(?:SELECT|WITH)\b", re.IGNORECASE)


def question_prompt(schema: Mapping[str, Any], question: str) -> str:
    """The prompt up to the line where the query begins. `schema`: a row of tables.json."""
    return (
        f"/* Given the following database schema: */\n{create_tables(schema)}\n\n"
        f"/* Answer the following with no explanation: {question} */"
    )


def example_prompt(examples: Sequence[Mapping[str, Any]]) -> str:
    """Text before a question: solved examples, rows of dev.json, in DAIL-SQL's organization, which shows questions and
    queries without their schemas; "" if there are none."""
    solved = [
        f"/* Answer the following with no explanation: {row['question']} */\n{row['query']}\n\n" for row in examples
    ]
    return "".join([EXAMPLES_PREFIX, *solved]) if solved else ""


def create_tables(schema: Mapping[str, Any]) -> str:
    """The tables of a row of tables.json as SQLite's statements, without the tables that SQLite makes for itself."""
    tables = [_quoted(name) for name in schema["table_names_original"]]
    columns = [(table, _quoted(name)) for table, name in schema["column_names_original"]]
    lines: list[list[str]] = [[] for _ in tables]
    for (table, name), kind in zip(columns, schema["column_types"], strict=True):
        if table >= 0:
            lines[table].append(f"{name} {kind}")
    for key in schema["primary_keys"]:
        table, name = columns[key]
        lines[table].append(f"PRIMARY KEY ({name})")
    for key, other in schema["foreign_keys"]:
        (table, name), (other_table, other_name) = columns[key], columns[other]
        lines[table].append(f"FOREIGN KEY ({name}) REFERENCES {tables[other_table]} ({other_name})")
    return "\n\n".join(
        f"CREATE TABLE {table} (\n    " + ",\n    ".join(own) + "\n);"
        for table, own in zip(tables, lines, strict=True)
        if not table.startswith("sqlite_")
    )


def extract_query(text: str) -> str:
    """The query in a model's answer to the prompt and SELECT: the first fenced block that holds one; otherwise the text
    itself up to its first empty line, which is the rest of SELECT unless it begins with that word again."""
    if fenced := _FENCED.search(text):
        return fenced.group(1).strip()
    query = text.partition("```")[0].strip().partition("\n\n")[0]
    if not query or _QUERY.match(query):
        return query
    return f"SELECT {query}"


def _quoted(name: str) -> str:
    return name if _NAME.fullmatch(name) else f'"{name}"'
