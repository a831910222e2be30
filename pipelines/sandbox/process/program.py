"""What a forked process does before it is a program: it reads its job, locks itself, and serves requests."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipelines.sandbox.confinement import landlock, root
from pipelines.sandbox.confinement.limits import Limits
from pipelines.sandbox.confinement.lockdown import Isolation, lock
from pipelines.sandbox.protocol import READY, receive, send
from pipelines.sandbox.python import driver as python_driver
from pipelines.sandbox.sql import driver as sql_driver

DRIVERS: dict[str, Callable[[int, int], None]] = {"python": python_driver.serve, "sql": sql_driver.serve}
REQUESTS, REPLIES, RULES = 3, 4, 5
"""Descriptors of the process."""


def become_program(isolation: Isolation, library: int, requests: int, replies: int) -> NoReturn:
    """Keeps only these of its parent's open files, locks itself as its job asks, which is its first request, serves
    the others, and never returns.

    Args:
        library: descriptor of landlock's rules for a program that may read the standard library.
    """
    try:
        _keep((requests, replies, library))
        try:
            job = json.loads(receive(REQUESTS))
            _lock(job, isolation)
        except OSError as error:
            send(REPLIES, str(error).encode())
        else:
            send(REPLIES, READY)
            DRIVERS[job["driver"]](REQUESTS, REPLIES)
    finally:
        os._exit(0)


def _lock(job: dict[str, Any], isolation: Isolation) -> None:
    folder = root.LIBRARY
    if job["readable"] is not None:
        paths, folder = [Path(path) for path in job["readable"]], root.FILES
        if isolation.own_root and paths:
            root.with_files(paths)
        if isolation.landlock_abi:
            rules = landlock.ruleset(dict.fromkeys(paths, landlock.READ_FILE), isolation.landlock_abi)
            os.dup2(rules, RULES)
            os.close(rules)
    lock(isolation, Limits(**job["limits"]), RULES, folder)


def _keep(descriptors: tuple[int, int, int]) -> None:
    """Makes them REQUESTS, REPLIES and RULES, and the standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    sources = (null, null, null, *descriptors)
    moved = [fcntl.fcntl(source, fcntl.F_DUPFD, len(sources)) for source in sources if source >= 0]
    for target, source in enumerate(moved):
        os.dup2(source, target)
    os.closerange(len(moved), os.sysconf("SC_OPEN_MAX"))
