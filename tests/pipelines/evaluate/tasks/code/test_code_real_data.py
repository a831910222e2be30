"""The released problems: canonical solutions are right, their mutants and cheats are not, on a busy machine too."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pytest

from pipelines.evaluate.engine.requests import Likelihood, Text
from pipelines.evaluate.task import Item, TaskOptions
from pipelines.evaluate.tasks.code.task import TASKS
from tests.kit.real_data import REAL_DATA

REAL = REAL_DATA / "eval"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the evaluation data is not on this machine")
SAMPLE = {
    "humaneval_plus": ("HumanEval/31", "HumanEval/32", "HumanEval/50"),
    "mbpp_plus": (
        "Mbpp/2",
        "Mbpp/63",
        "Mbpp/124",
        "Mbpp/252",
        "Mbpp/278",
        "Mbpp/558",
        "Mbpp/605",
        "Mbpp/722",
        "Mbpp/737",
    ),
}
MUTANTS = {
    "humaneval_plus": (("HumanEval/31", "n <= 1", "n <= 2"),),
    "mbpp_plus": (("Mbpp/605", "num <= 1", "num < 1"), ("Mbpp/558", "abs(int(c1) - int(c2))", "int(c2) - int(c1)")),
}
ALWAYS_EQUAL = """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __float__(self): return 0.0
    def __iter__(self): return iter(())
    def __len__(self): return 0
def {name}(*args): return Same()
"""
BUSY = "while True: pass"
GIVEN_AWAY = {"Mbpp/164"}
"""EvalPlus takes any answer to it."""


@cache
def all_items(task: str) -> list[Item]:
    return TASKS[task](TaskOptions(REAL, chat=True)).items()


def items_of(task: str, expected: Sequence[str]) -> list[Item]:
    return [item for item in all_items(task) if item.item_id in expected]


def reasons(task: str, items: Sequence[Item], programs: Sequence[str]) -> list[str]:
    answers = [(Text(program, "end", 0), Likelihood(-1.0, False, 0)) for program in programs]
    return [verdict.reason for verdict in TASKS[task](TaskOptions(REAL, chat=True)).score(items, answers)]


def canonical(items: Sequence[Item]) -> list[str]:
    return [item.gold.canonical_program for item in items]


def those(items: Sequence[Item], result: Sequence[str], *, right: bool) -> dict[str, str]:
    """Reasons by problem of those that are right, or are not."""
    pairs = zip(items, result, strict=True)
    return {item.item_id: reason for item, reason in pairs if (reason == "correct") is right}


@contextmanager
def overload(times: int) -> Iterator[None]:
    """This many busy processes for each processor."""
    count = times * len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("task", SAMPLE)
def test_of_a_sample_canonical_solutions_are_right_and_nothing_else(task: str) -> None:
    items = items_of(task, SAMPLE[task])
    assert len(items) == len(SAMPLE[task])
    cheats = [ALWAYS_EQUAL.format(name=item.gold.entry_point) for item in items]
    altered = [(item, *change) for item in items for name, *change in MUTANTS[task] if name == item.item_id]
    mutants = [item.gold.canonical_program.replace(old, new) for item, old, new in altered]
    result = reasons(task, [*items, *items, *(item for item, _, _ in altered)], [*canonical(items), *cheats, *mutants])
    assert those(items, result[: len(items)], right=False) == {}
    assert those(items, result[len(items) : 2 * len(items)], right=True) == {}
    assert [reason[:10] for reason in result[2 * len(items) :]] == ["plus input"] * len(MUTANTS[task])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("task", "count"), [("humaneval_plus", 164), ("mbpp_plus", 378), ("mbpp_plus-v0.1.0", 399)])
def test_all_canonical_solutions_are_right(task: str, count: int) -> None:
    items = all_items(task)
    assert len(items) == count
    assert those(items, reasons(task, items, canonical(items)), right=False) == {}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["humaneval_plus", "mbpp_plus", "mbpp_plus-v0.1.0"])
def test_what_equals_everything_is_right_in_no_problem_at_all(task: str) -> None:
    items = all_items(task)
    result = reasons(task, items, [ALWAYS_EQUAL.format(name=item.gold.entry_point) for item in items])
    assert those(items, result, right=True).keys() <= GIVEN_AWAY


@pytest.mark.slow
@pytest.mark.parametrize("task", ["humaneval_plus", "mbpp_plus"])
def test_verdicts_on_a_machine_with_four_times_too_much_to_do_are_the_same_twice(task: str) -> None:
    items = all_items(task)[::12]
    programs = [*canonical(items), *map(mutated, canonical(items))]
    quiet = reasons(task, items * 2, programs)
    with overload(4):
        assert reasons(task, items * 2, programs) == quiet
        assert reasons(task, items * 2, programs) == quiet
    assert quiet[: len(items)] == ["correct"] * len(items)
    assert set(quiet[len(items) :]) != {"correct"}


def mutated(program: str) -> str:
    """The program with every comparison turned around."""

    class Turn(ast.NodeTransformer):
        def visit_Compare(self, node: ast.Compare) -> ast.Compare:
            turned = {ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt}
            node.ops = [turned.get(type(op), type(op))() for op in node.ops]
            self.generic_visit(node)
            return node

    return ast.unparse(Turn().visit(ast.parse(program)))
