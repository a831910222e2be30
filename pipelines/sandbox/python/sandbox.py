"""Runs Python programs that a model wrote, one fresh process each, and brings back plain values."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import Ceiling
from pipelines.sandbox.protocol import RETURNED, UNUSABLE
from pipelines.sandbox.session import ALL, Answer, Session, Zygote
from pipelines.sandbox.values import Plain, PlainError, decode

RAISED, NOT_RUN = "raised", "not run"
"""Outcomes of a call, besides those that its monitor sees (`protocol`)."""
MAX_ERROR_CHARACTERS = 1000
LOAD_CPU_S = 5.0
"""CPU seconds for the body of a program, imports included, before any call."""


@dataclass(frozen=True)
class CallReply:
    """The outcome of one call.

    Args:
        outcome: RETURNED; RAISED (an exception); TIMEOUT (its CPU budget is used up); ASLEEP (it waited for ten times
            its budget without using or waiting for CPU time); DIED (the process ended); UNUSABLE (the result is not
            plain, nested too deeply or too large); NOT_RUN (an earlier call ended the program).
        value: the result if RETURNED. None, bool, int, float, complex, str, bytes, list, tuple, dict, set or frozenset
            of such, each of exactly that type.
        error: type and text of the exception ("ValueError: no roots"), how the process ended ("signal 9"), or why the
            result is unusable.
        cpu_s: CPU seconds of the process for this call, as its watcher measured them.
    """

    outcome: str
    value: Plain = None
    error: str = ""
    cpu_s: float = 0.0


@dataclass(frozen=True)
class ProgramReply:
    """`load`: the outcome of the program's body, whose value is None. `calls`: one reply for each call, in order."""

    load: CallReply
    calls: tuple[CallReply, ...]


class PythonSandbox:
    """Runs programs, each in a separate process that is locked down before any of the program's code runs.

    >>> with PythonSandbox() as sandbox:
    ...     reply = sandbox.call("def double(x): return 2 * x", "double", [[21], ["ab"]], cpu_s=1.0)
    >>> [call.value for call in reply.calls]
    [42, 'abab']

    A reply is only a claim of the program: everything in its process, this package's half of the conversation included,
    is under the program's control, so a reply can be forged. A forged reply can only claim values. Keep expected values
    out of the arguments and compare on this side, and there is nothing to gain by it. CPU seconds, timeouts and deaths
    are measured by another process and cannot be forged. Processes are forked from one that has seen neither programs
    nor values, so one program (a reference solution, say) leaves no data that the next could find.

    Programs see the standard library alone, and numpy if the caller allows it; no files besides these, no environment,
    a constant hash seed, `random` seeded with 0, standard streams that lead nowhere, and `__name__ == "program"`.
    Threads work; processes, sockets (so asyncio) and temporary files do not.

    One program at a time: a sandbox is not for several threads, but there may be any number of sandboxes.

    Args:
        limits: resource limits of one program.
        unsafe: `UNSAFE` to run if the kernel offers no isolation; without it, entering raises.
        ceiling: maximum of the machine's protections to use, to test the safety of other machines.
        numpy: whether programs may import this interpreter's numpy. It has one thread, and `numpy.random` is seeded
            with 0.
        compiled: files of programs that are run again and again, such as a judge's own half; their texts as `program`
            are not compiled each time.

    Raises:
        SandboxUnavailableError: this machine cannot isolate, or there is no numpy; the message names what is missing.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        unsafe: str = "",
        ceiling: Ceiling = ALL,
        numpy: bool = False,
        compiled: Sequence[Path] = (),
    ) -> None:
        self._limits = limits or Limits()
        self._zygote = Zygote(unsafe, ceiling, numpy, compiled)

    @property
    def has_own_root(self) -> bool:
        """Whether programs see a root folder of the sandbox's own, instead of the metadata of this machine's paths."""
        return self._zygote.isolation is not None and self._zygote.isolation.own_root

    def __enter__(self) -> "PythonSandbox":
        self._zygote.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._zygote.stop()

    def call(
        self,
        program: str,
        entry_point: str,
        calls: Sequence[Sequence[Plain]],
        cpu_s: float | Sequence[float],
        load_cpu_s: float = LOAD_CPU_S,
    ) -> ProgramReply:
        """Executes `program` once, then calls its `entry_point` with each of `calls` in order, in the same process.

        The first call that times out or dies ends the program: the later ones are NOT_RUN. A call that raises, or whose
        result is unusable, does not.

        Args:
            program: source text.
            entry_point: name of a function (any callable) of the program.
            calls: the positional arguments of each call, plain values. Each call gets fresh copies.
            cpu_s: budget of each call in CPU seconds (`budget_s`), one for all or one each.
            load_cpu_s: budget of the program's body.
        """
        budgets = [cpu_s] * len(calls) if isinstance(cpu_s, int | float) else list(cpu_s)
        with self.open(program, load_cpu_s) as running:
            replies = [running.call(entry_point, *pair) for pair in zip(calls, budgets, strict=True)]
        return ProgramReply(running.load, tuple(replies))

    @contextmanager
    def open(self, program: str, load_cpu_s: float = LOAD_CPU_S) -> Iterator["Running"]:
        """The program in its process, for calls that depend on the replies before them. Ends it on leaving."""
        with self._zygote.session("python", self._limits) as session:
            yield Running(session, program, load_cpu_s)


class Running:
    """A program whose body has run. `load` is the outcome of the body."""

    def __init__(self, session: Session, program: str, load_cpu_s: float) -> None:
        self._session = session
        self._ended = False
        self.load = self._ask({"program": program}, load_cpu_s)
        self._ended = self.load.outcome != RETURNED

    def call(self, entry_point: str, arguments: Sequence[Plain], cpu_s: float) -> CallReply:
        """The reply to one call, or NOT_RUN if the program has ended."""
        if self._ended:
            return CallReply(NOT_RUN)
        return self._ask({"entry_point": entry_point, "arguments": list(arguments)}, cpu_s)

    def _ask(self, request: dict[str, Plain], cpu_s: float) -> CallReply:
        answer = self._session.ask(request, cpu_s)
        reply = _call_reply(answer)
        self._ended = answer.outcome != RETURNED
        return reply


def _call_reply(answer: Answer) -> CallReply:
    if answer.outcome != RETURNED:
        return CallReply(answer.outcome, error=answer.error, cpu_s=answer.cpu_s)
    match answer.reply:
        case {"value": value}:
            try:
                return CallReply(RETURNED, decode(value), cpu_s=answer.cpu_s)
            except PlainError as error:
                return CallReply(UNUSABLE, error=str(error), cpu_s=answer.cpu_s)
        case {"raised": str(text)}:
            return CallReply(RAISED, error=_printable(text), cpu_s=answer.cpu_s)
        case {"unusable": str(text)}:
            return CallReply(UNUSABLE, error=_printable(text), cpu_s=answer.cpu_s)
    return CallReply(UNUSABLE, error="the reply is not one of ours", cpu_s=answer.cpu_s)


def _printable(text: str) -> str:
    """A stranger's words, short and without the lone surrogates that no file takes."""
    return text[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
