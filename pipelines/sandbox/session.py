"""The caller's side of the sandbox's processes."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from arctic_errors import ArcticError
from pipelines.sandbox.confinement import numpy_package
from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import Ceiling, Isolation
from pipelines.sandbox.protocol import RETURNED, UNUSABLE, receive, receive_headed, send, send_headed
from pipelines.sandbox.values import Plain, pack

UNSAFE = "i accept unsafe execution"
START = Path(__file__).parent / "process" / "start.py"
COMMAND = (sys.executable, "-P", "-s", "-S", str(START))
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""All of it without numpy. A constant seed, so that a program that lists a set gives one answer in every run."""
STOP_S = 5.0
ALL = Ceiling()


class SandboxUnavailableError(ArcticError, RuntimeError):
    """This machine cannot isolate a program, or its sandbox ended by itself."""


@dataclass(frozen=True)
class Answer:
    """`reply`: the parsed reply of the program's process if the outcome is RETURNED; else `error` contains the
    reason."""

    outcome: str
    error: str
    cpu_s: float
    reply: Any = None


class Zygote:
    """The parent of all programs, started when first needed, and again if it was killed.

    Args:
        unsafe: UNSAFE to run programs if a protection is missing.
        ceiling: maximum of the machine's protections to use.
        numpy: whether programs may import numpy.
        compiled: files of programs of the caller's own, compiled once for all sessions.

    Raises:
        ValueError: `unsafe` is neither empty nor UNSAFE.
    """

    def __init__(
        self, unsafe: str = "", ceiling: Ceiling = ALL, numpy: bool = False, compiled: Sequence[Path] = ()
    ) -> None:
        if unsafe not in ("", UNSAFE):
            raise ValueError(f'unsafe={unsafe!r}: write "{UNSAFE}" to run without isolation, or leave it out.')
        self._unsafe = unsafe == UNSAFE
        self._ceiling, self._numpy, self._compiled = ceiling, numpy, compiled
        self._process: subprocess.Popen[bytes] | None = None
        self.isolation: Isolation | None = None

    def start(self) -> None:
        """Raises SandboxUnavailableError if numpy is asked for and missing, or something else is missing and `unsafe`
        does not allow that."""
        if self._process is not None:
            return
        numpy = numpy_package.home() if self._numpy else None
        if self._numpy and numpy is None:
            raise SandboxUnavailableError("Programs should be able to import numpy, which is not installed.")
        if sys.platform != "linux":
            raise SandboxUnavailableError(
                f"Code of a model runs on Linux only, isolated or not; this is {sys.platform}."
            )
        command = (*COMMAND, json.dumps(asdict(self._ceiling)), str(numpy or ""), *map(str, self._compiled))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT | (numpy_package.ENVIRONMENT if numpy else {}),
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        try:
            self.isolation = Isolation(**json.loads(receive(self._pipes()[1])))
        except EOFError:
            self.stop()
            raise SandboxUnavailableError(f"The sandbox's process ended as it started: {' '.join(command)}") from None
        if (missing := self.isolation.missing()) and not self._unsafe:
            self.stop()
            raise SandboxUnavailableError(
                f"This machine cannot isolate code of a model: it lacks {' and '.join(missing)}. "
                f'Run on another machine, leave out the tasks that execute, or pass unsafe="{UNSAFE}".'
            )

    def stop(self) -> None:
        """Ends it and every process that it started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()  # which ends the monitor and its program too
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def session(self, driver: str, limits: Limits, readable: Sequence[Path] | None = None) -> Iterator["Session"]:
        """A fresh locked process that serves requests by `driver`, and may read the files of `readable` alone, or the
        standard library."""
        self.start()
        requests, replies = self._pipes()
        session = Session(requests, replies)
        files = None if readable is None else [str(path) for path in readable]
        try:
            session.begin({"driver": driver, "limits": asdict(limits), "readable": files})
            yield session
            session.end()
        finally:
            if not session.ended:
                self.stop()

    def _pipes(self) -> tuple[int, int]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin.fileno(), self._process.stdout.fileno()


class Session:
    """One conversation with one locked process. `ended` when the pipes are free for the next."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies = requests, replies
        self.ended = False

    def begin(self, job: dict[str, Any]) -> None:
        """Raises SandboxUnavailableError if the process could not lock itself."""
        with _explained():
            send(self._requests, json.dumps(job).encode())
            answer = self._receive()
        if answer.outcome != RETURNED:
            raise SandboxUnavailableError(f"A program's process could not lock itself: {answer.error}.")

    def ask(self, request: dict[str, Plain], cpu_s: float) -> Answer:
        """The answer to `request` with a budget of `cpu_s` CPU seconds. Any but RETURNED is the last.

        Raises PlainError if the request is not plain.
        """
        packed = pack(request)
        with _explained():
            send_headed(self._requests, {"cpu_s": cpu_s}, packed)
            answer = self._receive()
        return _parsed(answer) if answer.outcome == RETURNED else answer

    def end(self) -> None:
        if not self.ended:
            with _explained():
                send(self._requests, b"")
            self.ended = True

    def _receive(self) -> Answer:
        header, reply = receive_headed(self._replies)
        answer = Answer(**header, reply=reply)
        self.ended = answer.outcome != RETURNED
        return answer


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError):
        raise SandboxUnavailableError(
            "The sandbox's own process ended by itself; the kernel may have been out of memory. Nothing was decided "
            "about the program: run it again."
        ) from None


def _parsed(answer: Answer) -> Answer:
    """`answer` with its reply read as JSON, which the program may have written itself."""
    try:
        return replace(answer, reply=json.loads(answer.reply))
    except (ValueError, RecursionError) as error:
        return replace(answer, reply={"unusable": f"{UNUSABLE} reply: {error}"})
