"""The process between the caller and its programs: it has each of them started, passes messages on, and ends it.

Messages from a program are passed on unchanged; a separate process tries whether a long reply can be parsed. No program
is forked from this process, whose memory holds data of sessions.
"""

import contextlib
import json
import os
import select
from collections.abc import Iterator

from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.reading import is_readable
from pipelines.sandbox.process.child import Child, Outcome
from pipelines.sandbox.process.forker import Forker
from pipelines.sandbox.protocol import (
    DIED,
    READY,
    RETURNED,
    UNUSABLE,
    frame,
    receive,
    receive_headed,
    send_headed,
)

START_CPU_S = 30.0
"""For the process to lock itself; a last resort, since none of it is the program's."""


def serve_sessions(forker: Forker) -> None:
    """Sessions one by one, until the caller closes its pipe or the forker is gone: a job, then requests until an empty
    one or the program's end."""
    with contextlib.suppress(EOFError, ConnectionError):
        while _session_begins():
            job = receive(0)
            with _child(forker, Limits(**json.loads(job)["limits"])) as child:
                _converse(child, job)


def _session_begins() -> bool:
    """Waits for the first byte of a session without reading it; False if the other side is gone."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    return bool(poll.poll()[0][1] & select.POLLIN)


@contextlib.contextmanager
def _child(forker: Forker, limits: Limits) -> Iterator[Child]:
    """A process that reads its job first."""
    (requests, request_end), (reply_end, replies) = os.pipe(), os.pipe()
    pid = forker.start(requests, replies)
    os.close(requests)
    os.close(replies)
    child = Child(pid, request_end, reply_end, limits, forker.end)
    try:
        yield child
    finally:
        child.close()


def _converse(child: Child, job: bytes) -> None:
    outcome = child.exchange(frame(job), START_CPU_S)
    if outcome.outcome == RETURNED and outcome.reply != READY:
        outcome = Outcome(DIED, outcome.reply.decode())
    _report(outcome)
    while outcome.outcome == RETURNED:
        header, request = receive_headed(0)
        if not header:
            break
        outcome = child.exchange(frame(request), header["cpu_s"])
        if outcome.outcome == RETURNED and not is_readable(outcome.reply):
            outcome = Outcome(UNUSABLE, "a reply that takes too much memory or time to read", outcome.cpu_s)
        _report(outcome)


def _report(outcome: Outcome) -> None:
    header = {"outcome": outcome.outcome, "error": outcome.error, "cpu_s": outcome.cpu_s}
    send_headed(1, header, outcome.reply)
