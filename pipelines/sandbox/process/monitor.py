"""The process between the caller and one program: it starts it, passes messages on, and ends it.

Messages from the program are passed on unchanged; a separate process tries whether a long reply can be parsed.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.sandbox.confinement import kernel, landlock, root
from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import CLONE_NEWPID, Isolation, lock
from pipelines.sandbox.confinement.reading import is_readable
from pipelines.sandbox.process.child import Child, Outcome
from pipelines.sandbox.protocol import (
    DIED,
    READY,
    RETURNED,
    UNUSABLE,
    frame,
    receive,
    receive_headed,
    send,
    send_headed,
)
from pipelines.sandbox.python import driver as python_driver
from pipelines.sandbox.sql import driver as sql_driver

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


def _start(job: dict[str, Any], isolation: Isolation, library: int) -> Child:
    """Forks the program's process; it locks itself before it answers for the first time."""
    if isolation.namespaces:
        kernel.unshare(CLONE_NEWPID)
    folder = root.LIBRARY
    if job["readable"] is not None:
        paths, folder = [Path(path) for path in job["readable"]], root.FILES
        if isolation.own_root and paths:
            root.with_files(paths)
        if isolation.landlock_abi:
            library = landlock.ruleset(dict.fromkeys(paths, landlock.READ_FILE), isolation.landlock_abi)
    (requests, request_end), (reply_end, replies) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_child(job, isolation, folder, (requests, replies, library))
    os.close(requests)
    os.close(replies)
    return Child(pid, request_end, reply_end, Limits(**job["limits"]))


def _become_child(job: dict[str, Any], isolation: Isolation, folder: str, descriptors: tuple[int, int, int]) -> None:
    """Keeps only `descriptors` of its parents' open files, locks itself, serves, and never returns."""
    try:
        _keep(descriptors)
        try:
            lock(isolation, Limits(**job["limits"]), RULES, folder)
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
