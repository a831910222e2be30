"""The resource limits of a program, and the budget of one call."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

MIN_BUDGET_S = 4.0
"""EvalPlus's `min_time_limit` is 1 s of wall time. A stored answer to Mbpp/239 takes 1.08 to 1.18 CPU s,
so that the machine would decide about it."""
BUDGET_FACTOR = 4.0
"""EvalPlus's `gt_time_limit_factor`."""


def budget_s(reference_cpu_s: float) -> float:
    """CPU seconds that a call may use whose reference solution used `reference_cpu_s` on this host in this run."""
    return max(MIN_BUDGET_S, BUDGET_FACTOR * reference_cpu_s)


MEMORY_SHARE = 0.75
"""Of the machine's memory that all sandboxes together may use; the rest is for those who started them."""
MIN_MEMORY_BYTES = 2 << 30
"""Of one of several sandboxes: the canonical solution of Mbpp/255 needs more than 1 GiB."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Limits:
    """Limits of one program, all its calls together.

    Args:
        memory_bytes: address space, as RLIMIT_AS counts it.
        idle_s: seconds that it may wait in all its calls, neither computing nor waiting for a busy processor.
        total_cpu_s: RLIMIT_CPU, in case the process that watches each call's budget is stopped.
        num_open_files: RLIMIT_NOFILE.
        num_threads: RLIMIT_NPROC; holds for users other than root, if user namespaces are allowed (elsewhere it would
            count every process of the user, so it is not set and memory bounds the number of threads).
        reply_bytes: the longest reply to one call; a longer one ends the program.
    """

    memory_bytes: int = 1 << 30
    idle_s: float = 60.0
    total_cpu_s: int = 3600
    num_open_files: int = 64
    num_threads: int = 64
    reply_bytes: int = 8 << 20


def machine_memory_bytes() -> int:
    """Memory of this machine, or of its container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    texts = [path.read_text().strip() for path in CGROUP_LIMITS if path.exists()]
    return min([total, *(int(text) for text in texts if text != "max")])


def divided(limits: Limits, num_sandboxes: int, memory_bytes: int) -> tuple[Limits, int]:
    """Limits of each of several sandboxes, and how many there may be, so that together they fit into the machine.

    Args:
        limits: of one sandbox that has the machine to itself.
        num_sandboxes: at most; fewer if less than MIN_MEMORY_BYTES would be left for each, but at least one.
        memory_bytes: the machine's memory.
    """
    usable = int(memory_bytes * MEMORY_SHARE)
    number = max(1, min(num_sandboxes, usable // MIN_MEMORY_BYTES))
    return replace(limits, memory_bytes=min(limits.memory_bytes, usable // number)), number
