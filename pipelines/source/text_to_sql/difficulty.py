"""How hard a SQL query is, by the rules of Spider (Yu et al. 2018, arXiv 1809.08887).

The counts are those of `eval_hardness` in Spider's evaluation.py, its peculiarities included: only the outermost query
before a set operation is looked at, a NOT counts as an aggregate, and so does every AND or OR of a HAVING.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

AGGREGATES = {"max", "min", "count", "sum", "avg"}
SET_OPERATIONS = {"union", "intersect", "except"}
CLAUSES = ("select", "from", "where", "group", "having", "order", "limit")
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|[\w.]+|<>|[<>!]=|\S""")

Tokens = Sequence[str]


@dataclass(frozen=True)
class Counts:
    """Spider's three counts: `component1` of WHERE, GROUP BY, ORDER BY, LIMIT, joins, OR and LIKE; `component2` of
    nested queries and set operations; `others` of several aggregates, columns, conditions or groups."""

    component1: int
    component2: int
    others: int

    @property
    def difficulty(self) -> str:
        """One of DIFFICULTIES."""
        first, nested, others = self.component1, self.component2, self.others
        if nested == 0:
            if first <= 1 and others == 0:
                return "easy"
            if (first <= 1 and others <= 2) or (first <= 2 and others < 2):
                return "medium"
            if (first <= 2 and others > 2) or (first == 3 and others <= 2):
                return "hard"
        return "hard" if nested == 1 and first <= 1 and others == 0 else "extra"


@dataclass(frozen=True)
class Conditions:
    """Conditions that AND and OR join: their number, and their content."""

    conditions: int = 0
    connectors: int = 0
    ors: int = 0
    likes: int = 0
    negations: int = 0
    nested: int = 0


def count_components(query: str) -> Counts:
    """The counts of a SELECT statement. Raises ValueError if it is none."""
    tokens = [token if token[0] in "'\"" else token.lower() for token in _TOKEN.findall(query)]
    clauses, set_operations = _split_clauses(_without_outer_brackets(tokens))
    if "select" not in clauses or "from" not in clauses:
        raise ValueError(f"no SELECT statement with a FROM: {query!r}")
    tables, joined = _read_from(clauses["from"])
    where, having = (_read_conditions(clauses.get(name, ())) for name in ("where", "having"))
    every = (joined, where, having)
    columns, groups, order = (_items(_after_by(clauses.get(name, ()))) for name in ("select", "group", "order"))
    aggregates = sum(AGGREGATES.intersection(item[:1]) != set() for item in columns)
    aggregates += sum(token in AGGREGATES for item in (*groups, *order) for token in item)
    aggregates += where.negations + having.negations + having.connectors
    return Counts(
        component1=sum(name in clauses for name in ("where", "group", "order", "limit"))
        + (tables - 1)
        + sum(each.ors + each.likes for each in every),
        component2=sum(each.nested for each in every) + set_operations,
        others=(aggregates > 1) + (len(columns) > 1) + (where.conditions > 1) + (len(groups) > 1),
    )


def _without_outer_brackets(tokens: Tokens) -> Tokens:
    """The first query of `(SELECT ...) UNION (SELECT ...)` without its brackets, which change nothing."""
    if tokens[:2] != ["(", "select"]:
        return tokens
    end = next(index for index, (_, depth) in enumerate(_with_depth(tokens)) if index and depth == 0)
    return [*tokens[1:end], *tokens[end + 1 :]]


def _split_clauses(tokens: Tokens) -> tuple[dict[str, Tokens], int]:
    """Tokens of each clause of the first query, and whether a set operation follows it (1) or not (0)."""
    clauses: dict[str, list[str]] = {}
    current: list[str] = []
    for token, depth in _with_depth(tokens):
        if depth == 0 and token in SET_OPERATIONS:
            return {**clauses}, 1
        if depth == 0 and token in CLAUSES:
            current = clauses.setdefault(token, [])
        elif token != ";":
            current.append(token)
    return {**clauses}, 0


def _read_from(tokens: Tokens) -> tuple[int, Conditions]:
    """How many tables are joined, and the conditions of all ONs."""
    tables, inside = 1, False
    conditions: list[str] = []
    for token, depth in _with_depth(tokens):
        if depth == 0 and token in ("join", ","):
            tables, inside = tables + 1, False
        elif depth == 0 and token == "on":
            conditions += ["and"] if conditions else []
            inside = True
        elif inside:
            conditions.append(token)
    return tables, _read_conditions(conditions)


def _read_conditions(tokens: Tokens) -> Conditions:
    if not tokens:
        return Conditions()
    connectors: list[str] = []
    likes = negations = nested = 0
    between = False
    for index, (token, depth) in enumerate(_with_depth(tokens)):
        if depth == 1 and token == "(" and tokens[index + 1 : index + 2] == ["select"]:
            nested += 1
        if depth:
            continue
        if token in ("and", "or") and not between:
            connectors.append(token)
        between = token == "between" or (between and token != "and")
        likes += token == "like"
        negations += token == "not" and tokens[index - 1 : index] != ["is"]
    return Conditions(len(connectors) + 1, len(connectors), connectors.count("or"), likes, negations, nested)


def _after_by(tokens: Tokens) -> Tokens:
    """The list of a clause, past BY of GROUP BY and ORDER BY and DISTINCT of SELECT."""
    return tokens[1:] if tokens[:1] in (["by"], ["distinct"]) else tokens


def _items(tokens: Tokens) -> list[list[str]]:
    """A clause's list, cut at its own commas."""
    items: list[list[str]] = [[]] if tokens else []
    for token, depth in _with_depth(tokens):
        if depth == 0 and token == ",":
            items.append([])
        else:
            items[-1].append(token)
    return items


def _with_depth(tokens: Tokens) -> Iterator[tuple[str, int]]:
    """Each token with the number of open brackets at it; an opening one counts itself, a closing one does not."""
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        yield token, depth
