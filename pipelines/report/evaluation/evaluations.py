"""The content of the page about evaluated checkpoints, read from the artifacts of its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.artifact import Artifact
from infra.inputs import Inputs, Node
from pipelines.artifacts.comparison import Comparison
from pipelines.artifacts.evaluation import SAMPLES_FILE, Scores
from pipelines.artifacts.formats.parquet import read_table


@dataclass(frozen=True)
class PageInputs(Inputs[Node]):
    """The comparison, and the evaluations that it compares by label."""

    compare: Node
    evaluation: Mapping[str, Node]


@dataclass(frozen=True)
class Evaluations:
    """The content of the page: `scores` of every checkpoint in the order of their tokens, the `comparison`, and rows of
    SAMPLES of the `last_two` checkpoints, or of the only one."""

    scores: Mapping[str, Scores]
    comparison: Comparison
    last_two: Mapping[str, list[dict[str, Any]]]


def read_evaluations(inputs: PageInputs[Artifact]) -> Evaluations:
    """Read the content of the page. Raises DamageError if a file is not as it was written."""
    comparison = Comparison.read(inputs.compare.path)
    folders = {label: inputs.evaluation[label].path for label in comparison.order}
    return Evaluations(
        {label: Scores.read(folder) for label, folder in folders.items()},
        comparison,
        {label: read_table(folders[label] / SAMPLES_FILE).to_pylist() for label in comparison.order[-2:]},
    )
