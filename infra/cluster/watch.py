"""A limit on calls that hold the interpreter's lock, so that no thread and no signal handler of the process runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WATCH = """
import os, select, signal, sys
driver, limit_s, message = sys.argv[1:]
if not select.select([0], [], [], float(limit_s))[0]:
    print(message, file=sys.stderr, flush=True)
    os.kill(int(driver), signal.SIGKILL)
"""


@contextmanager
def limited(limit_s: float, message: str) -> Iterator[None]:
    """Print `message` and kill this process if the body takes longer than `limit_s` seconds.

    The watch is a process of its own. It ends with the body, and with this process if that dies before.
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(os.getpid()), str(limit_s), message]
    # Ctrl-C in a terminal is for this process; its end is what the watch follows.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True):
        yield
