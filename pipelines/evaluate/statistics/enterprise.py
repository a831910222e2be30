"""Enterprise intelligence: Snowflake's mean of coding, SQL and instruction following, with its interval.

    ((HumanEval+ + MBPP+) / 2 + Spider + (IFEval prompts strict + IFEval instructions strict) / 2) / 3

Coding counts once (README of the released Arctic, "Enterprise intelligence"). Four benchmarks, 2,117 items in all: two
checkpoints closer than about three points cannot be distinguished without pairing their items.
"""

import math
from collections.abc import Mapping, Sequence

from pipelines.artifacts.evaluation import Score
from pipelines.evaluate.statistics.intervals import (
    MIN_UNITS,
    VarianceEstimate,
    degrees_of_freedom,
    influences,
    num_units,
)
from pipelines.evaluate.task import Share

PARTS: Mapping[tuple[str, str], float] = {
    ("humaneval_plus", "pass@1"): 1 / 6,
    ("mbpp_plus", "pass@1"): 1 / 6,
    ("spider", "execution_accuracy"): 1 / 3,
    ("ifeval", "prompt_strict"): 1 / 6,
    ("ifeval", "instruction_strict"): 1 / 6,
}
"""Weight of each measure by task and measure; they sum to 1."""
BITS_PER_BYTE_PARTS: Mapping[str, tuple[str, ...]] = {
    "code": ("humaneval_plus", "mbpp_plus"),
    "SQL": ("spider",),
    "maths": ("gsm8k",),
}
"""Tasks whose gold answers make up enterprise bits per byte, each kind counting once."""
GOLD = "gold_bits_per_byte"
FORMS = ("chat", "base")
"""In the chat template, or as a text that the model continues."""

NAME = "enterprise_intelligence"

ItemShares = Mapping[tuple[str, str], Sequence[Share]]
"""The addend of each item, by task and measure; the items of one task in one order for all its measures. Items of one
cluster as one: see `pipelines.evaluate.statistics.intervals.by_cluster`."""


def enterprise_sets(forms: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Sets of tasks that enterprise intelligence is the mean of: by its name, benchmark -> task.

    `forms`: "chat" or "base" by task, the form that it was asked in. A variant such as "spider-base" represents its
    benchmark, and all four must have been asked in one form. If both forms are complete, that with the plainer names
    has the plain name, and the other one its form behind it.
    """
    sets = {form: _standing_for(_benchmarks(), [name for name in forms if forms[name] == form]) for form in FORMS}
    complete = sorted((form for form in FORMS if sets[form]), key=lambda form: len("".join(sets[form].values())))
    return {NAME if form == complete[0] else f"{NAME}-{form}": sets[form] for form in complete}


def enterprise_intelligence(shares: ItemShares, tasks: Mapping[str, str]) -> Score | None:
    """The mean over the `shares` of `tasks` (see `enterprise_sets`), None if a measure is missing."""
    return _combined(shares, {(tasks[name], measure): weight for (name, measure), weight in PARTS.items()})


def enterprise_bits_per_byte(shares: ItemShares) -> Score | None:
    """Mean of code, SQL and maths of the gold answers' bits per byte: it moves while all accuracies are still 0.

    None unless all its tasks are there."""
    benchmarks = [task for tasks in BITS_PER_BYTE_PARTS.values() for task in tasks]
    tasks_of = _standing_for(benchmarks, [task for task, measure in shares if measure == GOLD])
    weights = {
        (tasks_of.get(task, task), GOLD): 1 / len(BITS_PER_BYTE_PARTS) / len(tasks)
        for tasks in BITS_PER_BYTE_PARTS.values()
        for task in tasks
    }
    return _combined(shares, weights)


def _benchmarks() -> list[str]:
    return list(dict.fromkeys(task for task, _ in PARTS))


def _standing_for(benchmarks: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The task among `names` that represents each benchmark: itself, or the variant with the shortest name; nothing
    unless all have one."""
    variants = {name: [each for each in names if each == name or each.startswith(f"{name}-")] for name in benchmarks}
    if not all(variants.values()):
        return {}
    return {name: min(names, key=lambda each: (len(each), each)) for name, names in variants.items()}


def _combined(shares: ItemShares, weights: Mapping[tuple[str, str], float]) -> Score | None:
    """A weighted sum of measures, None unless all are there.

    Tasks are independent; measures of one task are combined item by item, so that their covariance is counted (delta
    method); degrees of freedom are Welch's. Its n is the number of items and clusters that are independent. There is no
    interval if one of the measures has too few."""
    if not weights.keys() <= shares.keys():
        return None
    value = math.fsum(weight * _value(shares[name]) for name, weight in weights.items())
    tasks = dict.fromkeys(task for task, _ in weights)
    n = sum(len(next(shares[name] for name in weights if name[0] == task)) for task in tasks)
    if any(num_units(shares[name]) < MIN_UNITS for name in weights):
        return Score(value, n, None, None)
    estimates = [_variance({name: shares[name] for name in weights if name[0] == task}, weights) for task in tasks]
    variance = math.fsum(estimate.variance for estimate in estimates)
    doubt = math.fsum(estimate.variance**2 / estimate.freedom for estimate in estimates)
    half = VarianceEstimate(variance, variance**2 / doubt).half_width if doubt else 0.0
    return Score(value, n, max(0.0, value - half), value + half)


def _variance(shares: ItemShares, weights: Mapping[tuple[str, str], float]) -> VarianceEstimate:
    """Of the weighted sum of the measures of one task."""
    parts = [[weights[name] * part for part in influences(own)] for name, own in shares.items()]
    variance = math.fsum(math.fsum(item) ** 2 for item in zip(*parts, strict=True))
    return VarianceEstimate(variance, min(degrees_of_freedom(own) for own in shares.values()))


def _value(shares: Sequence[Share]) -> float:
    return math.fsum(share.part for share in shares) / math.fsum(share.whole for share in shares)
