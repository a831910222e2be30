"""EvalPlus's rules for results: by hand, and against numpy for close numbers."""

import math

import numpy as np
import pytest

from pipelines.evaluate.tasks.code.problems import RETYPE, Problem
from pipelines.evaluate.tasks.code.values import is_right, view


def problem(entry_point: str = "f", tolerance: float = 0.0, benchmark: str = "Mbpp") -> Problem:
    return Problem(f"{benchmark}/1", "", entry_point, "", [], [], tolerance)


@pytest.mark.parametrize(
    ("expected", "result", "tolerance", "right"),
    [
        ([1, 2], [1, 2], 0.0, True),
        ([1, 2], (1, 2), 0.0, False),  # a tuple is no list
        ([1, 2], [2, 1], 0.0, False),
        (1, True, 0.0, True),  # as Python has it
        (1, 1.0, 0.0, True),
        (0.3, 0.1 + 0.2, 0.0, True),  # floats are always compared with some tolerance
        (1.0, 1.0 + 9e-7, 0.0, True),
        (1.0, 1.0 + 2e-6, 0.0, False),
        ([0.3, 1.5], [0.1 + 0.2, 1.5], 0.0, True),
        ([0.3, 1.5], [0.1 + 0.2], 0.0, False),
        ([0.3, 1], [0.1 + 0.2, 1], 0.0, False),  # not all are floats
        ([0.3, 1], [0.1 + 0.2, 1], 1e-4, True),
        (1.0, "1.0", 0.0, False),
        (2.0, np.float64(2.1).item(), 0.1, True),
        (1.0, float("nan"), 0.1, False),
        (float("inf"), float("inf"), 0.0, True),
        ([1.0], [[1.0, 1.0]], 0.1, True),  # numpy spreads it, and so does EvalPlus
        ([1.0, 2.0], [None, 2.0], 0.1, False),
        ([1.0, 2.0], [[1.0], [2.0, 3.0]], 0.1, False),
        ([1.0], [10**400], 0.1, False),
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, 0.0, False),
        (None, None, 0.0, True),
    ],
)
def test_equal_or_close(expected: object, result: object, tolerance: float, right: bool) -> None:
    assert is_right(problem(tolerance=tolerance), [], expected, result) is right


@pytest.mark.parametrize(
    ("entry_point", "arguments", "expected", "result", "right"),
    [
        ("similar_elements", [], [1, 2], [2, 1, 1], True),
        ("similar_elements", [], [1, 2], [2], False),
        ("similar_elements", [], [1, 2], [[1], 2], False),  # cannot be in a set
        ("are_equivalent", [], False, True, True),
        ("sum_div", [8], 7, 0, True),
        ("sum_div", [8], 7, 15, False),
        ("surface_Area", [3, 4], 33, 35, True),  # 9 + 2 * 3 * sqrt(1.5**2 + 4**2) is 34.6
        ("surface_Area", [3, 4], 33, 34, False),
        ("digit_distance_nums", [123, 5], 4, 6, True),  # |1-0| + |2-0| + |3-5| is 5, not 6
        ("f", [], [1, 2], [2, 1, 1], False),
    ],
)
def test_problems_with_more_than_one_answer(
    entry_point: str, arguments: list[object], expected: object, result: object, right: bool
) -> None:
    if entry_point == "digit_distance_nums":
        assert not is_right(problem(entry_point), arguments, expected, result)
        result = 5
    assert is_right(problem(entry_point), arguments, expected, result) is right


def test_a_special_rule_is_for_its_own_benchmark() -> None:
    assert not is_right(problem("are_equivalent", benchmark="HumanEval"), [], False, True)
    assert view(problem("check_str")) == "presence"
    assert view(problem("check_str", benchmark="HumanEval")) == view(problem("f")) == "value"
    assert view(problem("Diff")) == "elements"


@pytest.mark.parametrize(
    ("result", "right"),
    [
        (2.0, True),
        (3.0, True),
        (1.5, False),
        (2.0 + 1e-9, True),
        ("2", False),
        (None, False),
        (1e200, False),
        (2j, False),
    ],
)
def test_any_root_of_the_polynomial_will_do(result: object, right: bool) -> None:
    coefficients = [6, -5, 1]  # (x - 2) (x - 3)
    assert is_right(problem("find_zero", 1e-4, "HumanEval"), [coefficients], 2.0, result) is right


@pytest.mark.parametrize(
    ("number", "stored", "arguments"),
    [
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2], [3, 4]]], [[(1, 2), (3, 4)]]),
        (259, [[[1, 2]], [[3]]], [((1, 2),), ((3,),)]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (75, [[[1], [2]], [5]], [[(1,), (2,)], [5]]),
        (307, [[1, []], 1, 50], [(1, []), 1, 50]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1, 2], []]], [[{1, 2}, {}]]),
        (278, [[1, [2]]], [(1, (2,))]),
        (722, [{"a": [1, 2]}, 3.0], [{"a": (1, 2)}, 3.0]),
        (252, ["1+2j"], [1 + 2j]),
        (124, ["-0.5", "1j"], [-0.5, 1j]),
    ],
)
def test_inputs_get_the_types_that_json_lacks(number: int, stored: list[object], arguments: list[object]) -> None:
    typed = RETYPE[f"Mbpp/{number}"](stored)
    assert typed == arguments
    assert [type(item) for item in typed] == [type(item) for item in arguments]


def test_closeness_is_that_of_numpy() -> None:
    draw = np.random.default_rng(0)
    for expected, error in zip(draw.normal(0, 10, 200), draw.choice([1e-8, 9e-7, 2e-6, 1e-5], 200), strict=True):
        close = math.isclose(expected, expected + error, rel_tol=0, abs_tol=1e-6 + 1e-7 * abs(expected))
        assert is_right(problem(), [], float(expected), float(expected + error)) is close
