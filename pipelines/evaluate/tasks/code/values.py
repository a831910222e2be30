"""When a solution's result is right: the rules of EvalPlus 0.3.1 (evalplus/eval), on plain values, outside the sandbox.

Equal, or numerically close for floats; and for a few problems another rule, because their text leaves more than one
answer open.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.tasks.code.problems import Arguments, Problem
from pipelines.evaluate.tasks.code.program import digest
from pipelines.sandbox import Plain

FLOAT_TOLERANCE = 1e-6
"""Absolute, if a problem names none."""
RELATIVE_TOLERANCE = 1e-7
"""Default of numpy's `assert_allclose`."""
ANY_ORDER = (
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
)
"""Problems of MBPP+ whose answer is a set, in any container type."""
FIND_ZERO = ("HumanEval", "find_zero")
MAX_COMPARED = 10_000_000
"""Pairs of numbers that numpy may spread two lists to: a wrong list of lists would take all memory."""
YES_OR_NO = ("check_str", "text_match_three", "text_starta_endb")
"""Problems of MBPP+ whose canonical solution answers yes by a match object."""


@dataclass(frozen=True)
class Digest:
    """The digest of a result that is too long to send, see `code_program.digest`. Of no type that a result can have, so
    that no result is taken for a digest."""

    text: str


def view(problem: Problem) -> str:
    """The part of a result to compare, see `code_program.call`."""
    if _name(problem) == FIND_ZERO:
        return "root"
    special = "value"
    if problem.problem_id.startswith("Mbpp/"):
        special = "elements" if problem.entry_point in ANY_ORDER else _VIEWS.get(problem.entry_point, "value")
    return "number" if special == "value" and problem.tolerance else special


def first_wrong(
    problem: Problem,
    arguments: Sequence[Arguments],
    expected: Sequence[Plain | Digest],
    results: Sequence[Plain | Digest],
) -> int | None:
    """Index of the first of `results` that is not right (`is_right`), None if all are. There may be fewer results than
    calls."""
    try:
        equal = list(map(operator.eq, results, expected)) if _rule(problem) is _equal else [False] * len(results)
    except RecursionError:
        equal = [False] * len(results)
    for n, is_equal in enumerate(equal):
        if not is_equal and not is_right(problem, arguments[n], expected[n], results[n]):
            return n
    return None


def is_right(problem: Problem, arguments: Arguments, expected: Plain | Digest, result: Plain | Digest) -> bool:
    """Whether `result` answers `problem` called with `arguments`, if its canonical solution returned `expected`.

    A value that cannot be compared is wrong.
    """
    try:
        rule = _rule(problem)
        if rule is _is_root:
            return _is_root(problem, arguments, expected, result)
        return rule(problem, arguments, expected, result) or _is_close(problem, expected, result)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return False


def _rule(problem: Problem) -> "Rule":
    return SPECIAL.get(_name(problem), _equal)


def _name(problem: Problem) -> tuple[str, str]:
    """Benchmark and entry point."""
    return problem.problem_id.partition("/")[0], problem.entry_point


def _equal(_problem: Problem, _arguments: Arguments, expected: Plain | Digest, result: Plain | Digest) -> bool:
    if not isinstance(expected, Digest) and not isinstance(result, Digest):
        return bool(result == expected)
    both = _digest_of(expected), _digest_of(result)
    return None not in both and both[0] == both[1]


def _digest_of(value: Plain | Digest) -> str | None:
    return value.text if isinstance(value, Digest) else digest(value)


def _is_close(problem: Problem, expected: Plain | Digest, result: Plain | Digest) -> bool:
    if isinstance(expected, Digest) or isinstance(result, Digest):
        return False
    tolerance = problem.tolerance or (FLOAT_TOLERANCE if _is_float(expected) else 0.0)
    if not tolerance or type(result) is not type(expected):
        return False
    if isinstance(expected, list | tuple) and len(result) != len(expected):
        return False
    if math.prod(np.broadcast_shapes(np.shape(result), np.shape(expected))) > MAX_COMPARED:
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(result, expected, rtol=RELATIVE_TOLERANCE, atol=tolerance))


def _is_float(value: Plain) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _is_root(problem: Problem, arguments: Arguments, _expected: Plain, result: Plain) -> bool:
    """Any root of the polynomial will do."""
    (coefficients,) = arguments
    value = sum(factor * math.pow(result, power) for power, factor in enumerate(coefficients))
    return bool(abs(value) <= problem.tolerance)


def _same_elements(_problem: Problem, _arguments: Arguments, expected: Plain, result: Plain) -> bool:
    return set(result) == set(expected)


def _anything(_problem: Problem, _arguments: Arguments, _expected: Plain, _result: Plain) -> bool:
    """The problem does not specify which divisors count."""
    return True


def _equal_or_zero(_problem: Problem, _arguments: Arguments, expected: Plain, result: Plain) -> bool:
    return bool(result == expected or result == 0)


def _surface(problem: Problem, arguments: Arguments, expected: Plain, result: Plain) -> bool:
    """The height may be that of a side or of the pyramid."""
    base, height = arguments
    of_pyramid = round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))
    return bool(result == expected or abs(result - of_pyramid) <= problem.tolerance)


def _digit_distance(_problem: Problem, arguments: Arguments, expected: Plain, result: Plain) -> bool:
    """The shorter number may be filled up with zeros."""
    length = max(len(str(number)) for number in arguments)
    first, second = (str(number).zfill(length) for number in arguments)
    filled = sum(abs(int(one) - int(other)) for one, other in zip(first, second, strict=True))
    return any(bool(result == right) for right in (expected, filled))


_VIEWS: Mapping[str, str] = dict.fromkeys(YES_OR_NO, "presence")
Rule = Callable[[Problem, Arguments, Plain, Plain], bool]
SPECIAL: Mapping[tuple[str, str], Rule] = {
    FIND_ZERO: _is_root,
    ("Mbpp", "are_equivalent"): _anything,
    ("Mbpp", "sum_div"): _equal_or_zero,
    ("Mbpp", "surface_Area"): _surface,
    ("Mbpp", "digit_distance_nums"): _digit_distance,
    **{("Mbpp", name): _same_elements for name in ANY_ORDER},
}
"""Problems with a special rule besides closeness (instead of it for a root), by benchmark and entry point."""
