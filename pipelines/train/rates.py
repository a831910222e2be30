"""How fast a phase was trained, for those who look at it later."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MAX_POINTS = 200


def throughput(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Tokens since the run's first phase, and tokens per second of all workers over the steps up to there, in at most
    MAX_POINTS groups of steps.

    `records`: the steps of a phase in order, with their `tokens` (since the first phase, after the step) and `step_s`.
    A phase's first step is left out: no earlier record gives its number of tokens, and it warms caches up.
    """
    size = max(1, math.ceil((len(records) - 1) / MAX_POINTS))
    groups = [records[first : first + size + 1] for first in range(0, len(records) - 1, size)]
    return [(int(group[-1]["tokens"]), _rate(group)) for group in groups]


def _rate(group: Sequence[Mapping[str, Any]]) -> float:
    """Of the steps after the first of `group`."""
    seconds = math.fsum(record["step_s"] for record in group[1:])
    return float((group[-1]["tokens"] - group[0]["tokens"]) / seconds)
