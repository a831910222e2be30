"""The process between the caller and one program: it starts it, passes messages on, and ends it.

What comes from the program is passed on unread.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.evaluate.sandbox import kernel, landlock, python_driver, sql_driver
from pipelines.evaluate.sandbox.child import Child, Outcome
from pipelines.evaluate.sandbox.limits import Limits
from pipelines.evaluate.sandbox.lockdown import CLONE_NEWPID, Isolation, lock
from pipelines.evaluate.sandbox.protocol import DIED, READY, RETURNED, frame, receive, receive_headed, send, send_headed

DRIVERS: dict[str, Callable[[int, int], None]] = {"python": python_driver.serve, "sql": sql_driver.serve}
START_CPU_S = 30.0
"""For the process to lock itself; a last resort, since none of it is the program's."""
REQUESTS, REPLIES, RULES = 3, 4, 5
"""Descriptors of the program's process."""


def run_session(isolation: Isolation, library: int) -> None:
    """One session: its job, then requests until an empty one, the program's end or the caller's.

    Args:
        library: descriptor of landlock's rules for a program that may read the standard library.
    """
    kernel.die_with_parent()
    with contextlib.suppress(EOFError, BrokenPipeError):  # the caller is gone, and with it the need
        child = _start(json.loads(receive(0)), isolation, library)
        try:
            _converse(child)
        finally:
            child.kill()


def _converse(child: Child) -> None:
    outcome = child.exchange(b"", START_CPU_S)
    if outcome.outcome == RETURNED and outcome.reply != READY:
        outcome = Outcome(DIED, outcome.reply.decode())
    _tell(outcome)
    while outcome.outcome == RETURNED:
        header, request = receive_headed(0)
        if not header:
            break
        outcome = child.exchange(frame(request), header["cpu_s"])
        _tell(outcome)


def _tell(outcome: Outcome) -> None:
    header = {"outcome": outcome.outcome, "error": outcome.error, "cpu_s": outcome.cpu_s}
    send_headed(1, header, outcome.reply)


def _start(job: dict[str, Any], isolation: Isolation, library: int) -> Child:
    """Forks the program's process; it locks itself before it answers for the first time."""
    if isolation.namespaces:
        kernel.unshare(CLONE_NEWPID)
    if isolation.landlock_abi and job["readable"] is not None:
        library = landlock.ruleset({Path(path): landlock.READ_FILE for path in job["readable"]})
    (requests, request_end), (reply_end, replies) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_child(job, isolation, (requests, replies, library))
    os.close(requests)
    os.close(replies)
    return Child(pid, request_end, reply_end, job["limits"]["reply_bytes"])


def _become_child(job: dict[str, Any], isolation: Isolation, descriptors: tuple[int, int, int]) -> None:
    """Keeps `descriptors` and nothing else that its parents had open, locks itself, serves, and never returns."""
    try:
        _keep(descriptors)
        try:
            lock(isolation, Limits(**job["limits"]), RULES)
        except OSError as error:
            send(REPLIES, str(error).encode())
        else:
            send(REPLIES, READY)
            DRIVERS[job["driver"]](REQUESTS, REPLIES)
    finally:
        os._exit(0)


def _keep(descriptors: tuple[int, int, int]) -> None:
    """Makes them REQUESTS, REPLIES and RULES, and the standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    sources = (null, null, null, *descriptors)
    moved = [fcntl.fcntl(source, fcntl.F_DUPFD, len(sources)) for source in sources if source >= 0]
    for target, source in enumerate(moved):
        os.dup2(source, target)
    os.closerange(len(moved), os.sysconf("SC_OPEN_MAX"))
