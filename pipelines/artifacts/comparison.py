"""The output of `compare`: changes between consecutive checkpoints, and the mean over the last ones.

comparison.json   Comparison
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.store.integrity import read_committed
from pipelines.artifacts.evaluation import SIGNIFICANCE, Difference, Score

COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Change:
    """A difference with its p-value after Holm's correction for all changes of the comparison."""

    difference: Difference
    adjusted_p: float

    @property
    def is_noise(self) -> bool:
        """Whether chance alone brings a change as large as this in some measure too often."""
        return self.adjusted_p >= SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """Checkpoints in the order of their training tokens.

    `order`: labels of their evaluations; `changes`: of every checkpoint, by measure, since the previous one, empty for
    the first; `asked_otherwise`: of every checkpoint, by task, the protocol of the previous checkpoint if it differs;
    `last_mean`: mean over the last `num_last` checkpoints, by measure.
    """

    order: Sequence[str]
    changes: Sequence[Mapping[str, Change]]
    asked_otherwise: Sequence[Mapping[str, str]]
    num_last: int
    last_mean: Mapping[str, Score]

    def write(self, folder: Path) -> None:
        """Write comparison.json into `folder`."""
        (folder / COMPARISON).write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """The comparison in the folder of an artifact. Raises DamageError if the file is not as it was written."""
        fields = json.loads(read_committed(folder / COMPARISON))
        fields["changes"] = [
            {name: Change(Difference(**change["difference"]), change["adjusted_p"]) for name, change in changes.items()}
            for changes in fields["changes"]
        ]
        fields["last_mean"] = {name: Score(**score) for name, score in fields["last_mean"].items()}
        return cls(**fields)
