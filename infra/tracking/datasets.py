"""Committed results: their manifests, their names, and as MLflow's datasets. Loading this module loads MLflow."""

import json
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from infra.artifact import Manifest
from infra.store.store import read_manifest
from infra.tracking.shapes import table_schema


def part_name(manifest: Manifest) -> str:
    """The role of a result in its run, as part of a model's name."""
    return f"phase-{manifest.subject}" if manifest.subject.isdigit() else f"{manifest.name}-{manifest.subject}"


def dataset_input(stage_id: str, key: str, context: str, path: Path | None) -> DatasetInput:
    """A committed result as MLflow's dataset: name = stage id, digest = key, so lineage is a search. Its source is the
    folder `path`; its schema, that of the first table there."""
    if path is None:
        return DatasetInput(
            Dataset(stage_id, key, "arctic", json.dumps({"uri": f"{stage_id}@{key}"})),
            [InputTag("mlflow.data.context", context)],
        )
    manifest = read_manifest(path)
    dataset = Dataset(
        stage_id,
        key,
        "local",
        json.dumps({"uri": str(path)}),
        schema=table_schema(path, manifest),
        profile=json.dumps(_profile(manifest)),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])


def _profile(manifest: Manifest) -> dict[str, int]:
    rows = sum(entry.rows or 0 for entry in manifest.files)
    return {"num_rows": rows, "num_files": len(manifest.files), "num_bytes": sum(e.bytes for e in manifest.files)}
