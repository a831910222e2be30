"""Problems of HumanEval+ and MBPP+ as EvalPlus releases them, with inputs of the types that solutions expect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.evaluate.data.files import read_rows
from pipelines.evaluate.task import DataError
from pipelines.sandbox import Plain

Arguments = list[Plain]
"""Positional arguments of one call."""


@dataclass(frozen=True)
class Problem:
    """One problem.

    `prompt`: of the benchmark, to be continued by `canonical_solution`; `entry_point`: the function that is called;
    `base_inputs`: of the original benchmark; `plus_inputs`: EvalPlus's own; `tolerance`: absolute, for floats.
    """

    problem_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    base_inputs: Sequence[Arguments] = field(repr=False)
    plus_inputs: Sequence[Arguments] = field(repr=False)
    tolerance: float

    @property
    def canonical_program(self) -> str:
        """The whole program that defines the right results, as EvalPlus runs it."""
        return self.prompt + self.canonical_solution


def read_problems(root: Path, file: str) -> list[Problem]:
    """The problems of a file of the data root, in its order. Raises DataError if a row is none."""
    problems = []
    for number, row in enumerate(read_rows(root, file), 1):
        try:
            problems.append(_problem(row))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{root / file}: row {number} is no problem of EvalPlus: {error!r}. Fetch it again."
            ) from error
    return problems


def _problem(row: Mapping[str, Any]) -> Problem:
    retype = RETYPE.get(row["task_id"], list)
    return Problem(
        row["task_id"],
        row["prompt"],
        row["entry_point"],
        row["canonical_solution"],
        [retype(arguments) for arguments in row["base_input"]],
        [retype(arguments) for arguments in row["plus_input"]],
        row["atol"],
    )


def _each(kind: Callable[[Plain], Plain]) -> Callable[[Plain], Arguments]:
    return lambda arguments: [kind(argument) for argument in arguments]


def _nth(position: int, kind: Callable[[Plain], Plain]) -> Callable[[Plain], Arguments]:
    return lambda arguments: [kind(item) if n == position else item for n, item in enumerate(arguments)]


def _tuples(items: Plain) -> Plain:
    return [tuple(item) for item in items]


def _tuple_of_tuples(items: Plain) -> Plain:
    return tuple(tuple(item) for item in items)


def _tuple_of_lists_as_tuples(items: Plain) -> Plain:
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)


def _all_tuples(value: Plain) -> Plain:
    return tuple(_all_tuples(item) for item in value) if isinstance(value, list) else value


def _sets(items: Plain) -> Plain:
    return [set(item) if isinstance(item, list) and item else {} for item in items]


def _dict_of_tuples(items: Plain) -> Plain:
    return {key: tuple(value) for key, value in items.items()}


_TYPES: Sequence[tuple[Callable[[Plain], Arguments], str]] = (
    (_each(tuple), "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    (_each(_tuples), "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (_each(_tuple_of_tuples), "259 401 445"),
    (_each(_all_tuples), "580 615 791"),
    (_nth(0, _tuples), "75 413 444 753"),
    (_nth(0, tuple), "250 307 405 446 617 720 763 808"),
    (_nth(1, tuple), "106 750"),
    (_nth(0, _sets), "115"),
    (_nth(0, _tuple_of_lists_as_tuples), "278"),
    (_nth(0, _dict_of_tuples), "722"),
    (_nth(0, complex), "252"),
    (lambda arguments: [float(arguments[0]), complex(arguments[1])], "124"),
)
RETYPE: Mapping[str, Callable[[Plain], Arguments]] = {
    f"Mbpp/{number}": types for types, numbers in _TYPES for number in numbers.split()
}
"""MBPP+ is stored as JSON, which has neither tuples nor sets nor complex numbers. EvalPlus's own list names the
problems and arguments that take them (evalplus/data/mbpp.py, `mbpp_deserialize_inputs`), an empty set being a dict
there too."""
