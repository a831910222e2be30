"""The exports of a run: format and folder of each, and how its engine agrees with the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.artifact import Artifact
from pipelines.artifacts.exported import MODEL, read_agreement


@dataclass(frozen=True)
class ExportSummary:
    """One export. `folder`: of its model, as seen from the page; `agreement`: fields of the comparison."""

    name: str
    checkpoint: str
    to: str
    dtype: str
    folder: str
    agreement: Mapping[str, Any]


def read_exports(exports: Mapping[str, Artifact], ids: Mapping[str, str]) -> list[ExportSummary]:
    """The exports of a run from their artifacts by name; `ids` of its stages by key."""
    return [
        ExportSummary(
            name=name,
            checkpoint=ids[artifact.manifest.inputs["train"]],
            to=artifact.manifest.params["to"],
            dtype=artifact.manifest.params["dtype"],
            # From the page's own folder, stages/report/KEY, to its neighbour.
            folder=f"../../{artifact.path.parent.name}/{artifact.path.name}/{MODEL}",
            agreement=read_agreement(artifact.path),
        )
        for name, artifact in exports.items()
    ]
