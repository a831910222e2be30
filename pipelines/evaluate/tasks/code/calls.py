"""Calls a program in the sandbox with many inputs: the caller's half of `code_program`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.evaluate.tasks.code import program as code_program
from pipelines.evaluate.tasks.code.problems import Arguments, Problem
from pipelines.evaluate.tasks.code.values import Digest, view
from pipelines.sandbox import CallReply, Plain, PythonSandbox
from pipelines.sandbox.protocol import RETURNED
from pipelines.sandbox.python.sandbox import Running

PROGRAM_FILE = Path(code_program.__file__)
PROGRAM = PROGRAM_FILE.read_text(encoding="utf-8")
LOAD_CPU_S = 5.0
"""For the body of a program."""
MAX_ERROR_CHARACTERS = 300


class Result(NamedTuple):
    """The result and the duration, as the program reports them."""

    value: Plain | Digest
    cpu_s: float


@dataclass(frozen=True)
class Outcome:
    """Of several calls in one exchange.

    `results`: of the calls before the first that failed, or of some if not all fit into one reply; `fault`: the reason
    why that one failed, "" if none did; `is_certain`: False if it is only known that one of the calls failed; `cpu_s`:
    CPU seconds as measured.
    """

    results: Sequence[Result]
    fault: str
    is_certain: bool
    cpu_s: float


class LoadedProgram:
    """A program whose body has run. `fault`: why it could not, "" if it could."""

    def __init__(self, running: Running, problem: Problem, program: str) -> None:
        self._running, self._problem = running, problem
        loaded = running.call("load", [program], LOAD_CPU_S)
        self.fault = "" if loaded.outcome == RETURNED else _words(loaded)

    def call(self, inputs: Sequence[Arguments], cpu_s: float) -> Outcome:
        """Calls the problem's function with `inputs`, at least with the first of them, within `cpu_s` CPU seconds."""
        reply = self._running.call("call", [self._problem.entry_point, view(self._problem), list(inputs)], cpu_s)
        if reply.outcome != RETURNED:
            return Outcome((), _words(reply), len(inputs) == 1, reply.cpu_s)
        results, fault = read_claims(reply.value)
        return Outcome(results[: len(inputs)], fault, True, reply.cpu_s)


@contextmanager
def loaded(sandbox: PythonSandbox, problem: Problem, program: str) -> Iterator[LoadedProgram]:
    """`program` in a separate process, ready for the calls of `problem`."""
    with sandbox.open(PROGRAM) as running:
        yield LoadedProgram(running, problem, program)


def read_claims(claims: Plain) -> tuple[list[Result], str]:
    """Results and fault of a reply, which may be forged."""
    match claims:
        case [str(error), list(values), dict(digests), list(seconds)] if {float}.issuperset(map(type, seconds)):
            shown = [Digest(digests[n]) if n in digests else value for n, value in enumerate(values)]
            results = list(map(Result, shown, seconds))
            return results, f"raised, {_printable(error)}" if error else "" if results else "no result"
    return [], "no result"


def _printable(text: str) -> str:
    """A stranger's words, short and without the lone surrogates that no file takes."""
    return text[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()


def _words(reply: CallReply) -> str:
    return f"{reply.outcome}, {reply.error}" if reply.error else reply.outcome
