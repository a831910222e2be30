"""The files of a result that MLflow can load as a model: one that holds a file MLmodel."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient

from infra.artifact import Manifest
from infra.store import link_or_copy

DESCRIPTION = "MLmodel"


def log_model_files(client: MlflowClient, model: Any, manifest: Manifest, path: Path) -> None:
    """Give the LoggedModel `model` the files of the result in `path`: links if MLflow keeps them in a folder on this
    machine, else an upload. A result without the description of a model gives none."""
    if not (path / DESCRIPTION).is_file():
        return
    location = urlsplit(model.artifact_location)
    if location.scheme in ("", "file"):
        _link(manifest, path, Path(url2pathname(location.path)))
        return
    with TemporaryDirectory() as staged:
        _link(manifest, path, Path(staged))
        client.log_model_artifacts(model.model_id, staged)


def _link(manifest: Manifest, path: Path, target: Path) -> None:
    for entry in manifest.files:
        file = target / entry.path
        # An event may be sent again.
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path / entry.path, file)
