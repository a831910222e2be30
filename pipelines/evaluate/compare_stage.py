"""The stage that compares the evaluations of several checkpoints, item by item."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.resources import Resources
from infra.stage import Metrics, Stage
from pipelines.artifacts.comparison import Change, Comparison
from pipelines.artifacts.evaluation import SAMPLES_FILE, Difference, Score, Scores
from pipelines.artifacts.formats.parquet import read_table
from pipelines.evaluate.evaluation import asked_otherwise, differences
from pipelines.evaluate.statistics.comparison import holm
from pipelines.evaluate.statistics.intervals import score
from pipelines.evaluate.task import Share

NUM_LAST = 3
"""Checkpoints in the mean over the last ones, which has less noise than the last one alone (arXiv 2508.13144)."""


@dataclass(frozen=True)
class CompareInputs(Inputs[Node]):
    """Evaluations by the label of their checkpoint."""

    evaluation: Mapping[str, Node]


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of one checkpoint: its scores, and its rows of SAMPLES."""

    label: str
    scores: Scores
    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, label: str, folder: Path) -> "Evaluated":
        """The evaluation in the folder of an artifact. Raises DamageError if a file is not as it was written."""
        columns = ["task", "item_id", "cluster", "prompt", "gold", "shares"]
        rows = read_table(folder / SAMPLES_FILE, columns).to_pylist()
        return cls(label, Scores.read(folder), rows)


def comparison_stage(evaluations: Mapping[str, Stage]) -> Stage:
    """Compare evaluations of checkpoints, by label and in the order that they were given."""
    inputs = CompareInputs(evaluations).named()
    return Stage("compare", "", 1, {"order": list(evaluations)}, inputs, _work, Resources(num_cpus=1), inline=True)


def compare(evaluations: Sequence[Evaluated]) -> Comparison:
    """Compare each checkpoint with the previous one, in the order of their tokens, with one correction for all
    changes."""
    ordered = sorted(evaluations, key=lambda each: each.scores.tokens)
    changes, asked = changes_between(list(pairwise(ordered)))
    last = ordered[-NUM_LAST:]
    differing = {task for other in asked[len(ordered) - len(last) :] for task in other}
    return Comparison(
        [each.label for each in ordered],
        [{}, *changes],
        [{}, *asked],
        len(last),
        _means(last, differing),
    )


def changes_between(
    pairs: Sequence[tuple[Evaluated, Evaluated]],
) -> tuple[list[dict[str, Change]], list[Mapping[str, str]]]:
    """For each (before, after): the changes by measure, with one correction for those of all pairs, and how the tasks
    that were asked in another way were asked before."""
    asked = [asked_otherwise(old.scores.protocols, new.scores.protocols, old.rows, new.rows) for old, new in pairs]
    raw = [_changes(old, new, other) for (old, new), other in zip(pairs, asked, strict=True)]
    flat = [max(change.p_value, change.mcnemar or 0.0) for changes in raw for change in changes.values()]
    adjusted = iter(holm(flat))
    return [{name: Change(change, next(adjusted)) for name, change in each.items()} for each in raw], list(asked)


def _work(context: StageContext, artifacts: Mapping[str, Artifact]) -> Metrics:
    inputs: CompareInputs[Artifact] = CompareInputs.of(artifacts)
    evaluations = [Evaluated.read(label, artifact.path) for label, artifact in inputs.evaluation.items()]
    compare(evaluations).write(context.out)
    return {"checkpoints": len(evaluations)}


def _changes(old: Evaluated, new: Evaluated, asked: Mapping[str, str]) -> dict[str, Difference]:
    raw = differences([row for row in old.rows if row["task"] not in asked], new.rows)
    return {name: raw[name] for name in new.scores.compared if name in raw}


def _means(last: Sequence[Evaluated], left_out: set[str]) -> dict[str, Score]:
    """Mean of each measure over checkpoints that were asked the same, over the items that all of them have."""
    by_item = [{(row["task"], row["item_id"]): row for row in each.rows} for each in last]
    common = [key for key in by_item[0] if all(key in rows for rows in by_item) and key[0] not in left_out]
    pairs: dict[str, list[tuple[Share, str]]] = {}
    for task, item in common:
        shares = [json.loads(rows[task, item]["shares"]) for rows in by_item]
        for measure in set.intersection(*(set(each) for each in shares)):
            mean = Share(*(sum(values) / len(last) for values in zip(*(each[measure] for each in shares), strict=True)))
            pairs.setdefault(f"{task}/{measure}", []).append((mean, by_item[0][task, item]["cluster"]))
    measures = last[-1].scores.compared
    return {name: _mean_score(pairs[name]) for name in measures if name in pairs}


def _mean_score(pairs: Sequence[tuple[Share, str]]) -> Score:
    return score([share for share, _ in pairs], [cluster for _, cluster in pairs])
