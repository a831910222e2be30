"""Parts of a generated task: steps on a list and the value that is returned, each in words, as a line of Python,
and as a function that computes the same in another way."""

import functools
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["numbers", "words"]


@dataclass(frozen=True)
class Step:
    """`words` completes "a function that ..."; `code` is an expression of the list `values`; both may hold {n}.
    `reference` computes the list from the list and n."""

    words: str
    code: str
    reference: Callable[[list[Any], int], list[Any]]


@dataclass(frozen=True)
class Result:
    """The value that is returned in the end: `name` is the first part of the function's name."""

    name: str
    words: str
    code: str
    reference: Callable[[list[Any]], Any]


def _keep(test: Callable[[Any, int], bool]) -> Callable[[list[Any], int], list[Any]]:
    return lambda values, n: list(filter(lambda value: test(value, n), values))


def _change(change: Callable[[Any, int], Any]) -> Callable[[list[Any], int], list[Any]]:
    return lambda values, n: [change(value, n) for value in values]


def _different(values: list[Any], n: int) -> list[Any]:  # noqa: ARG001 - a step takes n
    return functools.reduce(lambda seen, value: seen if value in seen else [*seen, value], values, [])


def _joined(values: list[str]) -> str:
    return functools.reduce(lambda text, word: f"{text} {word}" if text else word, values, "")


def _longest(values: list[str]) -> str:
    return sorted(values, key=len, reverse=True)[0]


def _sizes(values: list[str]) -> dict[str, int]:
    return dict(zip(values, map(len, values), strict=True))


STEPS: Mapping[Kind, Sequence[Step]] = {
    "numbers": (
        Step("keeps the even numbers", "[value for value in values if value % 2 == 0]", _keep(lambda v, _: not v & 1)),
        Step("keeps the odd numbers", "[value for value in values if value % 2 == 1]", _keep(lambda v, _: bool(v & 1))),
        Step("keeps the numbers above {n}", "[value for value in values if value > {n}]", _keep(operator.gt)),
        Step(
            "drops the negative numbers", "[value for value in values if value >= 0]", _keep(lambda v, _: abs(v) == v)
        ),
        Step("adds {n} to each", "[value + {n} for value in values]", _change(operator.add)),
        Step("multiplies each by {n}", "[value * {n} for value in values]", _change(operator.mul)),
        Step("squares each", "[value ** 2 for value in values]", _change(lambda v, _: v * v)),
        Step("takes the absolute value of each", "[abs(value) for value in values]", _change(lambda v, _: max(v, -v))),
        Step("sorts the numbers", "sorted(values)", lambda values, _: sorted(values, key=float)),
        Step("takes the first {n}", "values[:{n}]", lambda values, n: [v for i, v in enumerate(values) if i < n]),
        Step("removes repeated numbers", "list(dict.fromkeys(values))", _different),
    ),
    "words": (
        Step(
            "keeps the words of more than {n} letters",
            "[word for word in values if len(word) > {n}]",
            _keep(lambda v, n: len(v[n:]) > 0),
        ),
        Step(
            "turns each into upper case",
            "[word.upper() for word in values]",
            _change(lambda v, _: "".join(map(str.upper, v))),
        ),
        Step("reverses each", "[word[::-1] for word in values]", _change(lambda v, _: "".join(reversed(v)))),
        Step("takes the first letter of each", "[word[0] for word in values]", _change(lambda v, _: next(iter(v)))),
        Step(
            "sorts the words by length",
            "sorted(values, key=len)",
            lambda values, _: [v for size in sorted({len(v) for v in values}) for v in values if len(v) == size],
        ),
        Step("removes repeated words", "list(dict.fromkeys(values))", _different),
        Step("takes the last {n}", "values[-{n}:]", lambda values, n: values[max(0, len(values) - n) :]),
    ),
}
RESULTS: Mapping[Kind, Sequence[Result]] = {
    "numbers": (
        Result("list", "returns the list", "values", list),
        Result("sum", "returns their sum", "sum(values)", lambda values: functools.reduce(operator.add, values, 0)),
        Result("largest", "returns the largest", "max(values)", lambda values: sorted(values)[-1]),
        Result("smallest", "returns the smallest", "min(values)", lambda values: sorted(values)[0]),
        Result("number", "returns how many there are", "len(values)", lambda values: sum(1 for _ in values)),
        Result("mean", "returns their mean", "sum(values) / len(values)", statistics.fmean),
    ),
    "words": (
        Result("list", "returns the list", "values", list),
        Result("text", "joins them with blanks", '" ".join(values)', _joined),
        Result("number", "returns how many there are", "len(values)", lambda values: sum(1 for _ in values)),
        Result(
            "letters", "returns the number of letters", "sum(map(len, values))", lambda values: len("".join(values))
        ),
        Result("longest", "returns the longest", "max(values, key=len)", _longest),
        Result("lengths", "maps each to its length", "{word: len(word) for word in values}", _sizes),
    ),
}
