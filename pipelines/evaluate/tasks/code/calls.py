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
from pipelines.sandbox.values import pack

PROGRAM_FILE = Path(code_program.__file__)
PROGRAM = PROGRAM_FILE.read_text(encoding="utf-8")
LOAD_CPU_S = 5.0
"""For the body of a program."""
MAX_ERROR_CHARACTERS = 300


class Inputs(NamedTuple):
    """Arguments of a `number` of calls, ready to be sent."""

    packed: bytes
    number: int

    @classmethod
    def of(cls, arguments: Sequence[Arguments]) -> "Inputs":
        return cls(pack(list(arguments)), len(arguments))


@dataclass(frozen=True)
class Outcome:
    """Of several calls in one exchange.

    `results`: of the calls before the first that failed, or of some if not all fit into one reply; `fault`: the reason
    why that one failed, "" if none did; `is_certain`: False if it is only known that one of the calls failed; `cpu_s`:
    CPU seconds as measured; `seconds`: of each call as the program reports them, if it was asked to.
    """

    results: Sequence[Plain | Digest]
    fault: str
    is_certain: bool
    cpu_s: float
    seconds: Sequence[float] = ()


class LoadedProgram:
    """A program whose body has run. `fault`: why it could not, "" if it could."""

    def __init__(self, running: Running, problem: Problem, program: str) -> None:
        self._running, self._problem = running, problem
        loaded = running.call("load", [program], LOAD_CPU_S)
        self.fault = "" if loaded.outcome == RETURNED else _words(loaded)

    def call(self, inputs: Inputs, cpu_s: float, timed: bool = False) -> Outcome:
        """Calls the problem's function with `inputs`, at least with the first of them, within `cpu_s` CPU seconds."""
        arguments = [self._problem.entry_point, view(self._problem), inputs.packed, timed]
        reply = self._running.call("call", arguments, cpu_s)
        if reply.outcome != RETURNED:
            return Outcome((), _words(reply), inputs.number == 1, reply.cpu_s)
        results, fault, seconds = read_claims(reply.value)
        return Outcome(results[: inputs.number], fault, True, reply.cpu_s, seconds)


@contextmanager
def loaded(sandbox: PythonSandbox, problem: Problem, program: str) -> Iterator[LoadedProgram]:
    """`program` in a separate process, ready for the calls of `problem`."""
    with sandbox.open(PROGRAM) as running:
        yield LoadedProgram(running, problem, program)


def read_claims(claims: Plain) -> tuple[list[Plain | Digest], str, list[float]]:
    """Results, fault and CPU seconds of a reply, which may be forged."""
    match claims:
        case [str(error), list(values), dict(digests), list(seconds)] if {float}.issuperset(map(type, seconds)):
            results = [Digest(digests[n]) if n in digests else value for n, value in enumerate(values)]
            return results, f"raised, {_printable(error)}" if error else "" if results else "no result", seconds
    return [], "no result", []


def _printable(text: str) -> str:
    """A stranger's words, short and without the lone surrogates that no file takes."""
    return text[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()


def _words(reply: CallReply) -> str:
    return f"{reply.outcome}, {reply.error}" if reply.error else reply.outcome
