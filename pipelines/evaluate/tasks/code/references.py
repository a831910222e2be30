"""Reference results: those of the canonical solutions, computed in this run, and their duration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.evaluate.task import DataError
from pipelines.evaluate.tasks.code.calls import Inputs, Outcome, loaded
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
    _packed: dict[tuple[int, int], Inputs] = field(default_factory=dict, repr=False)

    def packed(self, start: int, end: int) -> Inputs:
        """These of the inputs, packed once for all programs that are called with them."""
        if (start, end) not in self._packed:
            self._packed[start, end] = Inputs.of(self.inputs[start:end])
        return self._packed[start, end]


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
    values, seconds, outcome = _run(problem, inputs, sandbox, INPUTS_AT_ONCE)
    if not outcome.is_certain:
        values, seconds, outcome = _run(problem, inputs, sandbox, 1)
    if outcome.fault:
        raise DataError(
            f"{problem.problem_id}: its canonical solution fails at {kind} input {len(values) + 1}: {outcome.fault}. "
            "Nothing can be judged by it. Fetch the data again, and if that is of no use report it."
        )
    return Reference(inputs, values, seconds)


def _run(
    problem: Problem, inputs: Sequence[Arguments], sandbox: PythonSandbox, at_once: int
) -> tuple[list[Plain | Digest], list[float], Outcome]:
    """Results of the canonical solution up to its first fault, CPU seconds of each, and the last outcome."""
    values: list[Plain | Digest] = []
    seconds: list[float] = []
    with loaded(sandbox, problem, problem.canonical_program) as program:
        outcome = Outcome((), program.fault, True, 0.0)
        while len(values) < len(inputs) and not outcome.fault:
            part = Inputs.of(inputs[len(values) : len(values) + at_once])
            outcome = program.call(part, REFERENCE_CPU_S, timed=True)
            values += outcome.results
            seconds += outcome.seconds
            if outcome.seconds:
                # Bringing back a long result is part of answering, and it is the last of its exchange.
                seconds[-1] += _unclaimed_s(outcome)
    return values, seconds, outcome


def _unclaimed_s(outcome: Outcome) -> float:
    """CPU seconds of an exchange besides the calls."""
    return max(0.0, outcome.cpu_s - sum(outcome.seconds))
