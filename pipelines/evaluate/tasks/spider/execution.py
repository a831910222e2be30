"""Whether two queries are equivalent, by the rules of Spider's test-suite evaluator (Zhong et al. 2020, arXiv
2010.02840; taoyds/test-suite-sql-eval, `--etype exec` with its defaults, or with `--plug_value`), on one database.

A query is prepared as the evaluator does it (`prepared`), and two results are the same if some order of columns makes
them the same bag of rows, or the same list of rows if the gold query sorts (`same_result`). Two differences are
intended: a statement that is not a query fails (the evaluator executes it, and counts it right if gold has no rows),
and 10 equals 10.0 in every row (the evaluator's quick rejection sorts the two differently next to some other numbers).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, product

from pipelines.sandbox import Row

_LEXEMES = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:''|[^'])*' | "(?:""|[^"])*" | `[^`]*` | \[[^\]]*\] | \d+\.\d+ | \w+ | .""",
    re.DOTALL | re.VERBOSE,
)
_VALUE = re.compile(r"""'.*' | ".*" | \d+(?:\.\d+)?""", re.DOTALL | re.VERBOSE)
MAX_PLUGGED = 1_000
"""Ways to plug values into one query; the evaluator has no limit, and a query of many values would never end."""
_CURRENT_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)
_SPACED_COMPARISONS = {"> =": ">=", "< =": "<=", "! =": "!="}

Column = tuple[object, ...]


def prepared(query: str) -> str:
    """The first statement of `query` as it is executed: comparisons without blanks inside, no DISTINCT, and the year
    2020 as the current one."""
    for spaced, comparison in _SPACED_COMPARISONS.items():
        query = query.replace(spaced, comparison)
    statements: list[str] = []
    for lexeme in _LEXEMES.findall(query.strip()):
        if lexeme == ";":
            break
        if lexeme.lower() != "distinct":
            statements.append(lexeme)
    return _CURRENT_YEAR.sub("2020", "".join(statements))


def with_values(query: str) -> str:
    """`query` with the placeholder that models without values write for a value replaced by 1, as the evaluator reads
    it."""
    return query.replace(" value ", " 1 ")


def plugged(query: str, gold: str) -> Iterator[str]:
    """`query` with every choice of gold's values (quoted texts and unsigned numbers) in the places of its own, as the
    evaluator does it with `--plug_value` for models that do not predict values; the first MAX_PLUGGED of them."""
    lexemes = _LEXEMES.findall(query)
    positions = [n for n, lexeme in enumerate(lexemes) if _VALUE.fullmatch(lexeme)]
    values = dict.fromkeys(lexeme for lexeme in _LEXEMES.findall(gold) if _VALUE.fullmatch(lexeme))
    for choice in islice(product(values, repeat=len(positions)), MAX_PLUGGED):
        for position, value in zip(positions, choice, strict=True):
            lexemes[position] = value
        yield "".join(lexemes)


def is_ordered(gold: str) -> bool:
    """Whether the order of rows is part of the answer."""
    return "order by" in gold.lower()


def same_result(gold: Sequence[Row], answer: Sequence[Row], *, ordered: bool) -> bool:
    """Whether some order of the answer's columns makes it gold: row by row if `ordered`, as a bag of rows otherwise.
    Two results without rows are the same, regardless of their columns."""
    if len(gold) != len(answer) or not gold:
        return len(gold) == len(answer)
    if len(gold[0]) != len(answer[0]):
        return False
    gold_columns, answer_columns = list(zip(*gold, strict=True)), list(zip(*answer, strict=True))
    return Counter(gold_columns) == Counter(answer_columns) if ordered else _same_bag(gold_columns, [], answer_columns)


def _same_bag(gold_columns: Sequence[Column], matched: list[Column], left: list[Column]) -> bool:
    """Whether the columns `left`, in some order after those `chosen`, give the rows of `wanted`. A choice whose rows so
    far are no bag of gold's is given up at once, so few of the orders are looked at."""
    if Counter(zip(*matched, strict=True)) != Counter(zip(*gold_columns[: len(matched)], strict=True)):
        return False
    if not left:
        return True
    return any(_same_bag(gold_columns, [*matched, column], _without(left, column)) for column in dict.fromkeys(left))


def _without(columns: list[Column], column: Column) -> list[Column]:
    index = columns.index(column)
    return columns[:index] + columns[index + 1 :]
