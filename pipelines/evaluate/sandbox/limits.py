"""What a program may use, and the budget of one call."""

from dataclasses import dataclass

MIN_BUDGET_S = 1.0
"""EvalPlus's `min_time_limit`."""
BUDGET_FACTOR = 4.0
"""EvalPlus's `gt_time_limit_factor`."""


def budget_s(reference_cpu_s: float) -> float:
    """CPU seconds that a call may use whose reference solution used `reference_cpu_s` on this host in this run."""
    return max(MIN_BUDGET_S, BUDGET_FACTOR * reference_cpu_s)


@dataclass(frozen=True)
class Limits:
    """What one program may use, all its calls together.

    Args:
        memory_bytes: address space, as RLIMIT_AS counts it.
        total_cpu_s: RLIMIT_CPU, in case the process that watches each call's budget is stopped.
        num_open_files: RLIMIT_NOFILE.
        num_threads: RLIMIT_NPROC; holds for users other than root, where user namespaces are allowed (elsewhere it
            would count every process of the user, so it is left alone and memory bounds the number of threads).
        reply_bytes: the longest reply to one call; a longer one ends the program.
    """

    memory_bytes: int = 1 << 30
    total_cpu_s: int = 3600
    num_open_files: int = 64
    num_threads: int = 64
    reply_bytes: int = 8 << 20
