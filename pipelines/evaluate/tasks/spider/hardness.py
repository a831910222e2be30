"""Hardness of a question of Spider: the levels of its evaluation.py (Yu et al. 2018, arXiv 1809.08887), computed from
the parsed query of every question.

Peculiarities are the evaluator's: only the query before a set operation is looked at, nested queries count once each,
and a NOT, or an AND or OR of a HAVING, counts as an aggregate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_LIKE = 9
"""Index of LIKE among the operators of a parsed condition."""


def hardness(sql: Mapping[str, Any]) -> str:
    """ "easy", "medium", "hard" or "extra", of the field `sql` of a row of dev.json."""
    parts, nested, others = _parts(sql), _nested(sql), _others(sql)
    if nested == 0:
        if parts <= 1 and others == 0:
            return "easy"
        if (parts <= 1 and others <= 2) or (parts == 2 and others <= 1):
            return "medium"
        if (parts <= 2 and others > 2) or (parts == 3 and others <= 2):
            return "hard"
    return "hard" if nested == 1 and parts <= 1 and others == 0 else "extra"


def _parts(sql: Mapping[str, Any]) -> int:
    """Number of WHERE, GROUP BY, ORDER BY and LIMIT clauses, joined tables, ORs and LIKEs."""
    clauses = sum(bool(sql[name]) for name in ("where", "groupBy", "orderBy")) + (sql["limit"] is not None)
    joins = len(sql["from"]["table_units"]) - 1
    ors = sum(connector == "or" for where in _conditions(sql) for connector in where[1::2])
    likes = sum(unit[1] == _LIKE for where in _conditions(sql) for unit in where[::2])
    return int(clauses + joins + ors + likes)


def _nested(sql: Mapping[str, Any]) -> int:
    """Queries in conditions, and set operations."""
    inside = sum(isinstance(value, dict) for where in _conditions(sql) for unit in where[::2] for value in unit[3:5])
    return inside + sum(sql[name] is not None for name in ("intersect", "union", "except"))


def _others(sql: Mapping[str, Any]) -> int:
    """Whether there are several aggregates, columns, conditions and groups: 0 to 4."""
    ordered = [column for unit in sql["orderBy"][1:] for value in unit for column in value[1:] if column]
    units = [*sql["select"][1], *sql["where"][::2], *sql["groupBy"], *ordered, *sql["having"]]
    aggregates = sum(unit[0] != 0 for unit in units)
    return sum(count > 1 for count in (aggregates, len(sql["select"][1]), len(sql["where"]), len(sql["groupBy"])))


def _conditions(sql: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Lists of conditions with their connectors between them."""
    return sql["from"]["conds"], sql["where"], sql["having"]
