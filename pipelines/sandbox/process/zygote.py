"""The process that all programs descend from.

It imports the modules that programs may want, so that they start in milliseconds. Then it forks the process that all
programs are forked from, and becomes the monitor of their sessions. So the memory of the former never holds data of any
session, and a program's memory holds only data of its own session.
"""

import gc
import importlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pipelines.sandbox.confinement import landlock, lockdown, numpy_package
from pipelines.sandbox.process import monitor
from pipelines.sandbox.process.forker import Forker
from pipelines.sandbox.process.program import become_program
from pipelines.sandbox.protocol import send
from pipelines.sandbox.python import driver

NO_RULES = -1
PRELOADED = """
    abc array ast base64 bisect calendar cmath collections collections.abc contextlib copy csv dataclasses datetime
    decimal difflib enum fractions functools hashlib heapq inspect io itertools json locale math numbers operator pprint
    queue random re secrets statistics string struct textwrap threading time timeit traceback types typing unicodedata
    warnings zlib
    """.split()  # noqa: SIM905 - a paragraph instead of fifty lines
"""Any other module of the standard library can be imported too, and takes its time."""


def serve(ceiling: lockdown.Ceiling, numpy: str, compiled: Sequence[str]) -> None:
    """Serves sessions that the other side begins, until it closes its pipe.

    `numpy`: folder with the numpy that programs may import, "" for none; `compiled`: files of
    programs of the caller's own.
    """
    driver.compile_once(compiled)
    for name in PRELOADED:
        importlib.import_module(name)
    readable = lockdown.readable_library()
    if numpy:
        numpy_package.preload(Path(numpy))
        # Once more: it has brought libraries of its own.
        readable = lockdown.readable_library() | numpy_package.readable(Path(numpy))
    isolation = lockdown.enter_namespaces(ceiling, readable)
    abi = isolation.landlock_abi
    library = landlock.ruleset(readable, abi) if abi else NO_RULES
    send(1, json.dumps(asdict(isolation)).encode())
    lockdown.prepare_lock(isolation)
    gc.freeze()
    gc.enable()
    namespaces = lockdown.CLONE_NEWPID if isolation.namespaces else 0
    with closing(Forker.fork(namespaces, partial(become_program, isolation, library))) as forker:
        monitor.serve_sessions(forker)
