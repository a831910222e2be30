"""Questions about a generated database, each with the query that answers it.

A question's kind is the shape of its query. Easy kinds come more often. A pair whose query gives no rows, or nothing
but NULL, is not used.
"""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from pipelines.artifacts.questions import QUERY_END
from pipelines.source.text_to_sql import phrases
from pipelines.source.text_to_sql.difficulty import count_components
from pipelines.source.text_to_sql.schemas import Schema, Table

MAX_DRAWS_PER_PAIR = 30


@dataclass(frozen=True)
class Pair:
    """A question in words, its gold query with the end mark, and the kind of the query."""

    question: str
    query: str
    kind: str

    @property
    def difficulty(self) -> str:
        """Spider's level of the query, one of DIFFICULTIES."""
        return count_components(self.query).difficulty


def prompt(schema: Schema, question: str) -> str:
    """Schema and question in the form of a document, up to the start of the query."""
    return f"{schema.text}-- {question}\n"


def document_text(schema: Schema, pairs: list[Pair]) -> str:
    """A schema with all its pairs, as a model reads it."""
    return schema.text + "".join(f"-- {pair.question}\n{pair.query}\n" for pair in pairs)


def draw_pairs(schema: Schema, count: int, draw: random.Random) -> list[Pair]:
    """Up to `count` pairs with different queries that all return rows; fewer if the schema has no more."""
    pairs: dict[str, Pair] = {}
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema.script)
        for _ in range(count * MAX_DRAWS_PER_PAIR):
            if len(pairs) == count:
                break
            kind = draw.choices(list(KINDS), WEIGHTS)[0]
            drawn = KINDS[kind](schema, draw)
            if drawn and drawn[1] not in pairs and _returns_rows(database, drawn[1]):
                pairs[drawn[1]] = Pair(drawn[0], drawn[1] + QUERY_END, kind)
    return list(pairs.values())


Drawn = tuple[str, str] | None
"""Question, and query without its end mark; None if the schema does not allow the kind."""


def _count(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    return _phrase(phrases.COUNT, table, draw), f"SELECT count(*) FROM {table.name}"


def _list(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    columns = draw.sample(table.columns, draw.choice((1, 1, 2)))
    return _ask(columns, _phrase(phrases.ALL_ROWS, table, draw), draw), f"SELECT {', '.join(columns)} FROM {table.name}"


def _filter(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    return _where(table, *_equality(table, draw), draw)


def _comparison(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    return _where(table, *_inequality(table, draw), draw)


def _order(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    column, direction = draw.choice(table.numbers), draw.choice(list(phrases.EXTREME))
    query = f"SELECT {table.label} FROM {table.name} ORDER BY {column}{direction}"
    words = {"column": column, "extreme": phrases.EXTREME[direction]}
    match draw.choice((0, 0, 1, 1, 1, 2, 3)):
        case 0:
            return _phrase(phrases.SORTED[direction], table, draw, **words), query
        case 1:
            return _phrase(phrases.EXTREME_ROW, table, draw, **words), f"{query} LIMIT 1"
        case limit:
            return _phrase(phrases.EXTREME_ROWS, table, draw, limit=str(limit), **words), f"{query} LIMIT {limit}"


def _aggregate(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    column, (function, words) = draw.choice(table.numbers), draw.choice(list(phrases.AGGREGATES.items()))
    subject, where = f"all {table.name}", ""
    if draw.random() < 0.35:
        condition, test = _equality(table, draw)
        subject, where = f"{table.name} {condition}", f" WHERE {test}"
    question = _phrase(phrases.AGGREGATE, table, draw, word=draw.choice(words), column=column, subject=subject)
    return question, f"SELECT {function}({column}) FROM {table.name}{where}"


def _distinct(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    column = draw.choice(table.categories)
    if draw.random() < 0.5:
        question = _phrase(phrases.COUNT_DISTINCT, table, draw, column=column)
        return question, f"SELECT count(DISTINCT {column}) FROM {table.name}"
    return _phrase(phrases.DISTINCT, table, draw, column=column), f"SELECT DISTINCT {column} FROM {table.name}"


def _group(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    group = draw.choice(table.categories)
    if draw.random() < 0.6:
        question = _phrase(phrases.GROUP_COUNT, table, draw, group=group)
        return question, f"SELECT {group}, count(*) FROM {table.name} GROUP BY {group}"
    column, (function, words) = draw.choice(table.numbers), draw.choice(list(phrases.AGGREGATES.items()))
    question = _phrase(phrases.GROUP_AGGREGATE, table, draw, word=draw.choice(words), column=column, group=group)
    return question, f"SELECT {group}, {function}({column}) FROM {table.name} GROUP BY {group}"


def _having(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    group, least = draw.choice(table.categories), draw.choice(("1", "1", "2", "3"))
    question = _phrase(phrases.HAVING, table, draw, group=group, least=least)
    return question, f"SELECT {group} FROM {table.name} GROUP BY {group} HAVING count(*) > {least}"


def _join(schema: Schema, draw: random.Random) -> Drawn:
    if len(schema.tables) == 1:
        return None
    parent, child = _related(schema, draw)
    column = draw.choice(child.columns)
    joined = f"FROM {child.name} JOIN {parent.name} ON {child.name}.{parent.key} = {parent.name}.{parent.key}"
    if draw.random() < 0.4:
        question = _phrase(phrases.JOIN, child, draw, column=column, parent=parent.row, parent_label=parent.label)
        return question, f"SELECT {child.name}.{column}, {parent.name}.{parent.label} {joined}"
    condition, test = _equality(parent, draw) if draw.random() < 0.6 else _inequality(parent, draw)
    question = _ask([column], f"{child.name} of {parent.name} {condition}", draw)
    return question, f"SELECT {child.name}.{column} {joined} WHERE {parent.name}.{test}"


def _nested(schema: Schema, draw: random.Random) -> Drawn:
    if len(schema.tables) > 1 and draw.random() < 0.5:
        parent, child = _related(schema, draw)
        some, negation = draw.choice((("no", "NOT "), ("some", ""), ("any", "")))
        question = _phrase(phrases.HAS_CHILDREN, parent, draw, some=some, children=child.name)
        test = f"{parent.key} {negation}IN (SELECT {parent.key} FROM {child.name})"
        return question, f"SELECT {parent.label} FROM {parent.name} WHERE {test}"
    table = draw.choice(schema.tables)
    column, (way, sign) = draw.choice(table.numbers), draw.choice((("above", ">"), ("below", "<")))
    question = _phrase(phrases.AVERAGE, table, draw, column=column, way=way)
    test = f"{column} {sign} (SELECT avg({column}) FROM {table.name})"
    return question, f"SELECT {table.label} FROM {table.name} WHERE {test}"


def _compound(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    condition, test = _equals(table, draw.choice(table.categories), draw)
    column, (way, sign) = draw.choice(table.numbers), draw.choice((("above", ">"), ("below", "<")))
    question = _phrase(phrases.COMPOUND, table, draw, condition=condition, column=column, way=way)
    nested = f"SELECT avg({column}) FROM {table.name}"
    return question, f"SELECT {table.label} FROM {table.name} WHERE {test} AND {column} {sign} ({nested})"


def _set_operation(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    column, wordings, operation = draw.choice(
        ((draw.choice(table.categories), phrases.INTERSECT, "INTERSECT"), (table.label, phrases.UNION, "UNION"))
    )
    (first, first_test), (second, second_test) = _inequality(table, draw), _inequality(table, draw)
    question = _phrase(wordings, table, draw, column=column, first=first, second=second)
    selected = f"SELECT {column} FROM {table.name}"
    return question, f"{selected} WHERE {first_test} {operation} {selected} WHERE {second_test}"


def _difference(schema: Schema, draw: random.Random) -> Drawn:
    table = draw.choice(schema.tables)
    if not table.categories:
        return None
    column, (condition, test) = draw.choice(table.categories), _inequality(table, draw)
    question = _phrase(phrases.EXCEPT, table, draw, column=column, first=condition)
    selected = f"SELECT {column} FROM {table.name}"
    return question, f"{selected} EXCEPT {selected} WHERE {test}"


def _most_children(schema: Schema, draw: random.Random) -> Drawn:
    if len(schema.tables) == 1:
        return None
    parent, child = _related(schema, draw)
    direction = draw.choice(list(phrases.MOST_CHILDREN))
    children = Counter(child.values(parent.key)).values()
    extreme = max(children) if direction else min(children)
    if list(children).count(extreme) > 1:
        return None  # a tie: the query would answer with either
    question = _phrase(phrases.MOST_CHILDREN[direction], parent, draw, children=child.name)
    key = f"{parent.name}.{parent.key}"
    joined = f"FROM {child.name} JOIN {parent.name} ON {child.name}.{parent.key} = {key}"
    grouped = f"GROUP BY {key} ORDER BY count(*){direction} LIMIT 1"
    return question, f"SELECT {parent.name}.{parent.label} {joined} {grouped}"


KINDS: Mapping[str, Callable[[Schema, random.Random], Drawn]] = {
    "count": _count,
    "list": _list,
    "filter": _filter,
    "comparison": _comparison,
    "order": _order,
    "aggregate": _aggregate,
    "distinct": _distinct,
    "group": _group,
    "having": _having,
    "join": _join,
    "nested": _nested,
    "compound": _compound,
    "set_operation": _set_operation,
    "difference": _difference,
    "most_children": _most_children,
}
WEIGHTS = (12, 14, 16, 12, 12, 10, 6, 6, 3, 6, 3, 2, 1, 1, 2)
"""How often each kind is drawn, in the order of KINDS."""


def _where(table: Table, condition: str, test: str, draw: random.Random) -> Drawn:
    """A question for the number, or for columns, of the rows that meet a condition given in words and in SQL."""
    if draw.random() < 0.35:
        question = _phrase(phrases.COUNT_WHERE, table, draw, condition=condition)
        return question, f"SELECT count(*) FROM {table.name} WHERE {test}"
    others = [column for column in table.columns if not test.startswith(f"{column} ")]
    columns = draw.sample(others, draw.choice((1, 1, 1, 2)))
    question = _ask(columns, f"{_phrase(phrases.SOME_ROWS, table, draw)} {condition}", draw)
    return question, f"SELECT {', '.join(columns)} FROM {table.name} WHERE {test}"


def _equality(table: Table, draw: random.Random) -> tuple[str, str]:
    return _equals(table, draw.choice((*table.categories, table.label)), draw)


def _equals(table: Table, column: str, draw: random.Random) -> tuple[str, str]:
    value = draw.choice(table.values(column))
    return draw.choice(phrases.EQUALS).format(column=column, value=value), f"{column} = '{value}'"


def _inequality(table: Table, draw: random.Random) -> tuple[str, str]:
    column, sign = draw.choice(table.numbers), draw.choice(list(phrases.SIGNS))
    value, words = draw.choice(table.values(column)), draw.choice(phrases.SIGNS[sign])
    return draw.choice(phrases.COMPARES).format(column=column, sign=words, value=value), f"{column} {sign} {value}"


def _related(schema: Schema, draw: random.Random) -> tuple[Table, Table]:
    """A table and the one that refers to it."""
    index = draw.randrange(len(schema.tables) - 1)
    return schema.tables[index], schema.tables[index + 1]


def _ask(columns: list[str], subject: str, draw: random.Random) -> str:
    opening, end = draw.choice(phrases.ASK)
    return f"{opening} {' and '.join(columns)} of {subject}{end}"


def _phrase(wordings: tuple[str, ...], table: Table, draw: random.Random, **words: str) -> str:
    return draw.choice(wordings).format(row=table.row, rows=table.name, label=table.label, **words)


def _returns_rows(database: sqlite3.Connection, query: str) -> bool:
    rows = database.execute(query).fetchall()
    return any(value is not None for row in rows for value in row)
