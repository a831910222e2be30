"""Holm's correction against the step-down procedure that defines it."""

import numpy as np
import pytest

from pipelines.evaluate.statistics.comparison import holm


def rejected(p_values: list[float], level: float) -> set[int]:
    """The procedure as published: the smallest against level / n, the next against level / (n - 1), until one fails."""
    result: set[int] = set()
    for index in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[index] > level / (len(p_values) - len(result)):
            break
        result.add(index)
    return result


def test_an_adjusted_p_value_is_the_level_at_which_the_procedure_rejects() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        p_values = list(draw.random(draw.integers(1, 12)) ** 3)
        adjusted = holm(p_values)
        for level in (0.001, 0.01, 0.05, 0.2, 0.9):
            assert {index for index, p in enumerate(adjusted) if p <= level} == rejected(p_values, level)


def test_one_test_needs_no_correction_and_none_exceeds_one() -> None:
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.6, 0.02, 0.5]) == [1.0, pytest.approx(0.06), 1.0]
