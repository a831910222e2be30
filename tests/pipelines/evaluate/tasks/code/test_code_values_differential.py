"""Verdicts on 10^5 pairs of plain values against EvalPlus' rule, stated here once more on the values themselves.

The product sees only the output of the sandbox: a view, plain and encoded, or a digest. The rule sees values."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.evaluate.tasks.code import program as code_program
from pipelines.evaluate.tasks.code.calls import read_claims
from pipelines.evaluate.tasks.code.problems import Problem
from pipelines.evaluate.tasks.code.values import ANY_ORDER, SPECIAL, YES_OR_NO, Digest, is_right, view
from pipelines.sandbox.values import decode, encode, pack

Draw = random.Random
NUM_PAIRS = 100_000


def evalplus(entry_point: str, tolerance: float, arguments: list[Any], expected: Any, out: Any) -> bool:
    """EvalPlus 0.3.1, `unsafe_execute`, for MBPP+. Any exception is wrong."""
    try:
        exact = out == expected
        if entry_point == "are_equivalent":
            exact = True
        elif entry_point == "sum_div":
            exact = exact or out == 0
        elif entry_point == "surface_Area":
            base, height = arguments
            total = round(base**2 + 4 * (base * ((base / 2) ** 2 + height**2) ** 0.5) / 2)
            exact = exact or abs(out - total) <= tolerance
        elif entry_point == "digit_distance_nums":
            width = max(len(str(number)) for number in arguments)
            digits = [str(number).rjust(width, "0") for number in arguments]
            exact = exact or out == sum(abs(int(one) - int(other)) for one, other in zip(*digits, strict=True))
        elif entry_point in ANY_ORDER:
            exact = set(out) == set(expected)
        elif entry_point in YES_OR_NO:
            exact = out == expected if isinstance(out, bool) else expected == (out is not None)
        are_floats = isinstance(expected, float) or (
            isinstance(expected, list | tuple)
            and expected != type(expected)()
            and all(type(i) is float for i in expected)
        )
        tolerance = tolerance or 1e-6 * are_floats
        if exact or not tolerance:
            return bool(exact)
        if type(out) is not type(expected) or (isinstance(out, list | tuple) and len(out) != len(expected)):
            return False
        return bool(np.allclose(out, expected, rtol=1e-07, atol=tolerance))
    except Exception:
        return False


SCALARS: dict[str, Callable[[Draw], Any]] = {
    "none": lambda draw: None,
    "bool": lambda draw: draw.random() < 0.5,
    "int": lambda draw: draw.choice([0, 1, 2, -1, 10**30, 100_000_007]),
    "float": lambda draw: draw.choice([0.0, -0.0, 1.0, 0.5, 1.0 + 1e-9, 1e300, float("inf"), float("nan"), 1e8 + 7.5]),
    "complex": lambda draw: draw.choice([0j, 1 + 0j, complex(1, -0.0), 1j, 0.5 + 0j]),
    "str": lambda draw: draw.choice(["", "1", "None", "ab", "é", "\ud800", code_program.digest("ab")]),
    "bytes": lambda draw: draw.choice([b"", b"1", b"ab"]),
}
HASHED = {"set": set, "frozenset": frozenset}
KINDS = (*SCALARS, "list", "tuple", "dict", *HASHED)


def value(draw: Draw, kind: str, depth: int = 2) -> Any:
    if kind in SCALARS:
        return SCALARS[kind](draw)
    inner = [draw.choice(list(SCALARS))] if draw.random() < 0.5 else list(SCALARS)
    if kind in HASHED:
        return HASHED[kind](value(draw, draw.choice(inner)) for _ in range(draw.randrange(4)))
    if kind == "dict":
        return {value(draw, draw.choice(inner)): value(draw, draw.choice(KINDS), 0) for _ in range(draw.randrange(3))}
    inner += ["list", "tuple"] if depth and draw.random() < 0.5 else []
    items = [value(draw, draw.choice(inner), depth - 1) for _ in range(draw.randrange(4))]
    return items if kind == "list" else tuple(items)


def near(draw: Draw, provided: Any) -> Any:
    """`given`, or a similar value: another type, order, length, or a number that is equal or close."""
    if isinstance(provided, list | tuple):
        kind = draw.choice([type(provided)] * 4 + [list, tuple])
        items = [near(draw, item) if draw.random() < 0.4 else item for item in provided]
        if draw.random() < 0.2:
            draw.shuffle(items)
        extra = draw.random()
        return kind([items]) if extra < 0.05 else kind([*items, *items[:1]]) if extra < 0.1 else kind(items)
    if isinstance(provided, bool | int | float) and abs(provided) < 1e15:
        return draw.choice(
            [
                provided,
                provided + 0.0,
                complex(provided),
                provided + 1e-7,
                provided + 1e-3,
                bool(provided),
                str(provided),
            ]
        )
    if isinstance(provided, set | frozenset):
        return draw.choice([set, frozenset, list])(provided)
    return draw.choice([provided, provided, None, ""])


def pairs(seed: int, number: int) -> list[tuple[Any, Any]]:
    """Every type against every type, and every type against similar values."""
    draw = random.Random(seed)
    kinds = itertools.islice(itertools.cycle(itertools.product(KINDS, KINDS)), number // 2)
    apart = [(value(draw, one), value(draw, other)) for one, other in kinds]
    alike = [
        (provided := value(draw, kind), near(draw, provided))
        for kind in itertools.islice(itertools.cycle(KINDS), number // 2)
    ]
    return apart + alike


def seen(problem: Problem, returned: Any) -> list[Any]:
    """The caller's view of a program's result; nothing if it cannot be viewed."""
    code_program._solution.__dict__["answer"] = lambda: returned
    results, *_ = read_claims(decode(encode(code_program.call("answer", view(problem), pack([[]]), False))))
    return results


def verdicts(
    entry_point: str, tolerance: float, arguments: list[Any], drawn: list[tuple[Any, Any]]
) -> list[tuple[bool, bool, Any, Any]]:
    """Ours, EvalPlus', and the pair, of all that a canonical solution could have returned."""
    problem = Problem("Mbpp/1", "", entry_point, "", [], [], tolerance)
    actual = []
    for expected, result in drawn:
        right, provided = seen(problem, expected), seen(problem, result)
        if right:
            ours = bool(provided) and is_right(problem, arguments, right[0], provided[0])
            actual.append((ours, evalplus(entry_point, tolerance, arguments, expected, result), expected, result))
    return actual


def differing(result: list[tuple[bool, bool, Any, Any]]) -> list[tuple[bool, bool, Any, Any]]:
    assert any(ours for ours, *_ in result), "nothing was right"
    assert not all(ours for ours, *_ in result), "nothing was wrong"
    return [row for row in result if row[0] != row[1]]


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 0.1])
def test_verdicts_are_those_of_evalplus(tolerance: float) -> None:
    assert differing(verdicts("f", tolerance, [], pairs(int(tolerance * 1e7), NUM_PAIRS // 2))) == []


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_a_result_that_travels_as_its_digest_has_the_same_verdict(
    tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_program, "MAX_LENGTH", 1)
    actual = differing(verdicts("f", tolerance, [], pairs(7, NUM_PAIRS // 2)))
    for ours, _, expected, result in actual:
        # Long integers or mixtures next to floats that they do not equal: the digest has lost how close they are.
        assert not ours
        assert all(type(item) is float for item in expected)
        assert not all(type(item) is float for item in result)
        assert tolerance == 0


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 0.1])
def test_a_text_that_travels_as_its_digest_has_the_verdict_of_evalplus(
    tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text is close to another value, so that even a single character may."""
    monkeypatch.setattr(code_program, "MAX_TEXT", 0)
    drawn = pairs(13, NUM_PAIRS // 2)
    assert differing(verdicts("f", tolerance, [], drawn)) == []
    problem = Problem("Mbpp/1", "", "f", "", [], [], 0.0)
    digested = {str(one) for one, _ in drawn if any(isinstance(each, Digest) for each in seen(problem, one))}
    assert {"ab", "['a', 'b']"} & digested, digested


@pytest.mark.parametrize(
    ("entry_point", "arguments"),
    [
        ("are_equivalent", []),
        ("sum_div", [8]),
        ("surface_Area", [1, 0]),
        ("digit_distance_nums", [12, 3]),
        ("Diff", []),
    ],
)
def test_problems_with_a_rule_of_their_own_have_the_same_verdicts(entry_point: str, arguments: list[Any]) -> None:
    assert ("Mbpp", entry_point) in SPECIAL
    result = verdicts(entry_point, 0.0, arguments, pairs(3, NUM_PAIRS // 10))
    assert [row for row in result if row[0] != row[1]] == []


@pytest.mark.parametrize("entry_point", YES_OR_NO)
def test_yes_or_no_is_told_from_any_answer(entry_point: str) -> None:
    drawn = [
        (expected, value(random.Random(seed), kind))
        for seed in range(50)
        for kind in KINDS
        for expected in (True, False)
    ]
    assert differing(verdicts(entry_point, 0.0, [], drawn)) == []


NUMBERS_OF_NUMPY: tuple[Callable[[Any], Any], ...] = (np.float64, np.int64, np.bool_, np.uint8, np.str_)


def with_numpy(draw: Draw, provided: Any) -> Any:
    """`given` with some of its numbers and texts as numpy's, without those that numpy would have to round."""
    if isinstance(provided, int) and abs(provided) > 2**53:
        return provided
    if isinstance(provided, list | tuple):
        return type(provided)(with_numpy(draw, item) for item in provided)
    try:
        return draw.choice(NUMBERS_OF_NUMPY)(provided) if draw.random() < 0.7 else provided
    except (TypeError, ValueError, OverflowError):
        return provided


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 0.1])
def test_results_with_numbers_of_numpy_have_the_verdicts_of_evalplus(tolerance: float) -> None:
    draw = random.Random(5)
    drawn = [
        (expected, with_numpy(draw, draw.choice([expected, result])))
        for expected, result in pairs(int(tolerance * 1e7) + 1, NUM_PAIRS // 5)
    ]
    # numpy compares a number with each element of a list: there, 0 of numpy is right where [0] is.
    alike = [(one, two) for one, two in drawn if not (isinstance(two, np.generic) and isinstance(one, list | tuple))]
    assert differing(verdicts("f", tolerance, [], alike)) == []


def test_nothing_but_a_text_is_the_empty_text_and_no_text_is_a_digest() -> None:
    problem = Problem("HumanEval/1", "", "f", "", [], [], 0.0)
    draw = random.Random(0)
    others = [provided for kind in KINDS for _ in range(200) if not isinstance(provided := value(draw, kind), str)]
    assert not any(is_right(problem, [], "", other) for other in others)
    assert not any(is_right(problem, [], other, "") for other in others)
    text = code_program.digest("ab")
    assert text is not None
    assert not is_right(problem, [], "ab", text)
    assert is_right(problem, [], "ab", Digest(text))
    assert not is_right(problem, [], None, Digest(""))


def test_digests_are_equal_exactly_where_values_are() -> None:
    result = [
        (one, other) for one, other in pairs(11, 40_000) if code_program.digest(one) or code_program.digest(other)
    ]
    assert sum(one == other for one, other in result) > 500
    for one, other in result:
        assert (code_program.digest(one) == code_program.digest(other)) == (one == other), (one, other)


def test_a_wrong_answer_that_numpy_would_spread_over_all_memory_is_wrong() -> None:
    problem = Problem("HumanEval/1", "", "f", "", [], [], 1e-6)
    assert not is_right(problem, [], [1.0] * 100_000, [[1.0]] * 100_000)
