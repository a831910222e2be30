"""Judges programs by their results, each in a separate sandboxed process, several side by side.

No expected value ever enters a process with a model's code in it, and no verdict depends on how busy the machine is:
budgets are CPU seconds, and follow from those that the canonical solution uses in the same run.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from pipelines.evaluate.tasks.code import extraction as code_extraction
from pipelines.evaluate.tasks.code.calls import PROGRAM_FILE, loaded
from pipelines.evaluate.tasks.code.problems import Problem
from pipelines.evaluate.tasks.code.references import Kind, Reference, References
from pipelines.evaluate.tasks.code.values import first_wrong
from pipelines.sandbox import Limits, PythonSandbox, budget_s
from pipelines.sandbox.confinement.limits import BUDGET_FACTOR, divided, machine_memory_bytes
from pipelines.sandbox.python.sandbox import NOT_RUN

EXTRACTION_FILE = Path(code_extraction.__file__)
EXTRACTION = EXTRACTION_FILE.read_text(encoding="utf-8")
EXTRACTION_CPU_S = 30.0
LIMITS = Limits(memory_bytes=4 << 30, reply_bytes=64 << 20)
"""EvalPlus's memory, if the machine has that much for each sandbox; a right answer may have 7 MB (HumanEval/15)."""
PROGRAM_CPU_S = 60.0
"""For all inputs of one kind, unless the canonical solution takes long itself (EvalPlus's limit for a program)."""
TOGETHER_S = 0.25
"""CPU seconds of the canonical solution for the inputs that are tried at once: a wrong result ends no call early."""
CORRECT = "correct"

Asked = tuple[Sequence[str], str]
"""The texts that may hold the program, and the name of the function that it defines."""
Work = TypeVar("Work")
Decision = TypeVar("Decision")


@dataclass(frozen=True)
class Finding:
    """The verdict on a program: `reason` is CORRECT, or the first error; base inputs come first."""

    program: str
    is_base_right: bool
    is_right: bool
    reason: str


class Checker:
    """Decides about programs in one sandbox, which has no other user meanwhile."""

    def __init__(self, sandbox: PythonSandbox, references: References) -> None:
        self._sandbox, self._references = sandbox, references

    def check(self, problem: Problem, program: str) -> Finding:
        """EvalPlus's verdict: base inputs and its own must all be answered, each kind in a fresh process."""
        if reason := self._fault(problem, program, "base"):
            return Finding(program, False, False, reason)
        reason = self._fault(problem, program, "plus")
        return Finding(program, True, not reason, reason or CORRECT)

    def _fault(self, problem: Problem, program: str, kind: Kind) -> str:
        """The first error, "" if there is none.

        Quick inputs are tried many at once, with the budget of one: if all together stay within it, each alone would
        have. If that fails, or the failing input is unknown, all are tried one by one in a fresh process.
        """
        reference = self._references.get(problem, kind, self._sandbox)
        fault = self._attempt(problem, program, kind, reference, _ends(reference.cpu_s))
        if fault is None:
            fault = self._attempt(problem, program, kind, reference, range(1, len(reference.inputs) + 1))
        return fault or ""

    def _attempt(
        self, problem: Problem, program: str, kind: Kind, reference: Reference, ends: Sequence[int]
    ) -> str | None:
        """As `_fault`, input n being tried with those before `ends[n]`; None if one of several inputs failed, and
        nobody knows which."""
        left_s = max(PROGRAM_CPU_S, BUDGET_FACTOR * sum(reference.cpu_s))
        n = 0
        with loaded(self._sandbox, problem, program) as running:
            if running.fault:
                return f"program: {running.fault}"
            while n < len(reference.inputs):
                part = slice(n, ends[n])
                budget = budget_s(min(reference.cpu_s[part]))
                outcome = running.call(reference.packed(n, ends[n]), min(left_s, budget))
                left_s -= outcome.cpu_s
                inputs, expected = reference.inputs[part], reference.values[part]
                if (wrong := first_wrong(problem, inputs, expected, outcome.results)) is not None:
                    return f"{kind} input {n + wrong + 1}: wrong result"
                n += len(outcome.results)
                if outcome.fault:
                    return f"{kind} input {n + 1}: {outcome.fault}" if outcome.is_certain else None
        return ""


def extract(sandbox: PythonSandbox, answers: Sequence[Asked]) -> list[str]:
    """The program in each answer, see `code_extraction.extract`; its first text if none can be extracted in time. One
    process parses many answers; another one goes on behind an answer that ends it."""
    programs: list[str] = []
    while len(programs) < len(answers):
        with sandbox.open(EXTRACTION) as running:
            for n, (texts, entry_point) in enumerate(answers[len(programs) :]):
                reply = running.call("extract", [list(texts), entry_point], EXTRACTION_CPU_S)
                if n and reply.outcome == NOT_RUN:
                    break
                programs.append(reply.value if isinstance(reply.value, str) else texts[0])
    return programs


class SandboxKeeper:
    """Starts sandboxes that work side by side: for one use, or within `keep` for all uses that need as many. Starting
    one takes as long as judging five programs."""

    def __init__(self) -> None:
        self._keeps = False
        self._started = ExitStack()
        self._ready: tuple[Limits, int, Sandboxes] | None = None

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Sandboxes that are started within it end with it."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            self._stop()

    @contextmanager
    def use(self, most: int, unsafe: str, number: int | None = None, numpy: bool = False) -> Iterator["Sandboxes"]:
        """Sandboxes of which nothing else is used.

        Args:
            most: works at a time.
            unsafe: as for `PythonSandbox`.
            number: None for one for each processor that this process may use, as far as its memory suffices
                (`divided`).
            numpy: whether programs may import numpy.
        """
        limits, count = divided(LIMITS, min(number or len(os.sched_getaffinity(0)), most), machine_memory_bytes())
        make = partial(PythonSandbox, limits, unsafe, numpy=numpy, compiled=(PROGRAM_FILE, EXTRACTION_FILE))
        try:
            if self._ready is None or self._ready[:2] != (limits, count):
                self._stop()
                entered = [self._started.enter_context(make()) for _ in range(count)]
                self._ready = limits, count, Sandboxes(entered)
            yield self._ready[2]
        finally:
            if not self._keeps:
                self._stop()

    def _stop(self) -> None:
        self._ready = None
        self._started.close()


class Sandboxes:
    """Sandboxes that were entered, each for one work at a time."""

    def __init__(self, entered: Sequence[PythonSandbox]) -> None:
        self._number, self._free = len(entered), SimpleQueue[PythonSandbox]()
        for sandbox in entered:
            self._free.put(sandbox)

    def map(self, decide: Callable[[PythonSandbox, Work], Decision], works: Iterable[Work]) -> list[Decision]:
        """The results of `decide` for each of `works`, in their order."""

        def one(work: Work) -> Decision:
            sandbox = self._free.get()
            try:
                return decide(sandbox, work)
            finally:
                self._free.put(sandbox)

        with ThreadPoolExecutor(self._number) as pool:
            return list(pool.map(one, works))


def _ends(cpu_s: Sequence[float]) -> list[int]:
    """For each input the end of its run: of inputs that the canonical solution answers together within TOGETHER_S, so
    that the budget of one fits all."""
    ends: list[int] = []
    used_s = 0.0
    for n, seconds in enumerate(cpu_s):
        if used_s + seconds > TOGETHER_S:
            ends += [n] * (n - len(ends))
            used_s = 0.0
        used_s += seconds
    return ends + [len(cpu_s)] * (len(cpu_s) - len(ends))
