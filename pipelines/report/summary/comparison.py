"""Another run, compared with the one that a report is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.artifacts.comparison import Change
from pipelines.artifacts.evaluation import Scores
from pipelines.report.summary.run import RunSummary


@dataclass(frozen=True)
class RunComparison:
    """Two runs: `name` and `other` are their ids.

    `recipe_changes`: fields in which their recipes differ, from the other to this one; `before`, `after`: scores of
    their last checkpoints; `changes`: paired differences by measure, on the items that both have; `asked_otherwise`:
    tasks that were asked in another way, with how."""

    name: str
    other: str
    summary: RunSummary
    other_summary: RunSummary
    recipe_changes: Sequence[tuple[str, str, str]]
    before: Scores
    after: Scores
    changes: Mapping[str, Change]
    asked_otherwise: Mapping[str, str]
