"""Tries in a separate process whether a long reply can be parsed, so that a forged one exhausts only that process.

A few bytes of JSON can become a hundred times as much memory, and keys that collide cost the square of their number. A
later parse of the reply costs the same once more, and no more.
"""

import json
import os
import resource

from pipelines.sandbox.confinement import kernel
from pipelines.sandbox.values import PlainError, TooLargeError, decode

CHECKED_BYTES = 1 << 16
"""Shorter replies are read without a trial: the worst of them costs 2 MB and a tenth of a second."""
MEMORY_BYTES, CPU_S = 1 << 30, 10
"""Address space and CPU seconds of a trial: several times the needs of the largest right answers."""


def is_readable(reply: bytes) -> bool:
    """Whether `reply`, JSON of a program's process, can be parsed and decoded within MEMORY_BYTES and CPU_S;
    not if the process that made it is gone."""
    if len(reply) <= CHECKED_BYTES:
        return True
    try:
        pid = os.fork()
    except OSError:
        # The program ended itself, and the namespace with it.
        return False
    if pid == 0:
        _try(reply)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _try(reply: bytes) -> None:
    """Ends this process: with 0 if `reply` can be parsed, or is refused early by the parser."""
    code = 1
    try:
        kernel.die_with_parent()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1 if _is_too_large(json.loads(reply)) else 0
    except (ValueError, RecursionError):
        code = 0
    finally:
        os._exit(code)


def _is_too_large(parsed: object) -> bool:
    for part in parsed.values() if isinstance(parsed, dict) else [parsed]:
        try:
            decode(part)
        except TooLargeError:
            return True
        except PlainError:
            continue
    return False
