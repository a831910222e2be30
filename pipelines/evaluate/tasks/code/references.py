"""Reference results: those of the canonical solutions, computed in this run, and their duration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.evaluate.task import DataError
from pipelines.evaluate.tasks.code.calls import Outcome, Result, loaded
from pipelines.evaluate.tasks.code.problems import Arguments, Problem
from pipelines.evaluate.tasks.code.values import Digest
from pipelines.sandbox import Plain, PythonSandbox

INPUTS_AT_ONCE = 64
"""In one exchange."""
REFERENCE_CPU_S = 600.0
"""For `INPUTS_AT_ONCE` inputs; a canonical solution that takes longer is broken (the slowest, of Mbpp/599, takes one
minute for all its inputs)."""

Kind = Literal["base", "plus"]
"""Inputs of the original benchmark, and those that EvalPlus adds."""


@dataclass(frozen=True)
class Reference:
    """Inputs of one kind, with the canonical solution's result for each and its CPU seconds."""

    inputs: Sequence[Arguments]
    values: Sequence[Plain | Digest]
    cpu_s: Sequence[float]


class References:
    """Reference results, computed on first use and once for each problem and kind of input.

    One object is for the problems of one file, and may be used by several threads, each with different problems.
    """

    def __init__(self) -> None:
        self._by_problem: dict[tuple[str, Kind], Reference] = {}

    def get(self, problem: Problem, kind: Kind, sandbox: PythonSandbox) -> Reference:
        """Computed in a separate process. Raises DataError if the canonical solution fails."""
        key = problem.problem_id, kind
        if key not in self._by_problem:
            self._by_problem[key] = _compute(problem, kind, sandbox)
        return self._by_problem[key]


def _compute(problem: Problem, kind: Kind, sandbox: PythonSandbox) -> Reference:
    inputs = problem.base_inputs if kind == "base" else problem.plus_inputs
    results, outcome = _run(problem, inputs, sandbox, INPUTS_AT_ONCE)
    if not outcome.is_certain:
        results, outcome = _run(problem, inputs, sandbox, 1)
    if outcome.fault:
        raise DataError(
            f"{problem.problem_id}: its canonical solution fails at {kind} input {len(results) + 1}: {outcome.fault}. "
            "Nothing can be judged by it. Fetch the data again, and if that is of no use report it."
        )
    return Reference(inputs, [result.value for result in results], [result.cpu_s for result in results])


def _run(
    problem: Problem, inputs: Sequence[Arguments], sandbox: PythonSandbox, at_once: int
) -> tuple[list[Result], Outcome]:
    """Results of the canonical solution up to its first fault, and the last outcome."""
    results: list[Result] = []
    with loaded(sandbox, problem, problem.canonical_program) as program:
        outcome = Outcome((), program.fault, True, 0.0)
        while len(results) < len(inputs) and not outcome.fault:
            outcome = program.call(inputs[len(results) : len(results) + at_once], REFERENCE_CPU_S)
            results += outcome.results
            if outcome.results:
                # Bringing back a long result is part of answering, and it is the last of its exchange.
                results[-1] = Result(results[-1].value, results[-1].cpu_s + _unclaimed_s(outcome))
    return results, outcome


def _unclaimed_s(outcome: Outcome) -> float:
    """CPU seconds of an exchange besides the calls."""
    return max(0.0, outcome.cpu_s - sum(result.cpu_s for result in outcome.results))
