"""Shared fixtures of the tests of infra."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from infra.tracking import tracking_uri
from tests.kit.servers.local_ray import local_ray


class Tracking:
    """MLflow's content, read with its own client."""

    def __init__(self, store: Store) -> None:
        from mlflow import MlflowClient

        self.uri = tracking_uri(store.root)
        self.client = MlflowClient(self.uri)

    @property
    def experiment(self) -> str:
        return str(self.client.get_experiment_by_name("tiny").experiment_id)

    def run(self, name: str) -> Any:
        [result] = self.client.search_runs([self.experiment], f"run_name = '{name}'")
        return self.client.get_run(result.info.run_id)

    def names(self) -> list[str]:
        return sorted(run.info.run_name for run in self.client.search_runs([self.experiment]))

    def curve(self, name: str, metric: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.client.get_metric_history(self.run(name).info.run_id, metric)]

    def files(self, name: str, folder: str | None = None) -> list[str]:
        return sorted(file.path for file in self.client.list_artifacts(self.run(name).info.run_id, folder))

    def models(self) -> list[Any]:
        return list(self.client.search_logged_models([self.experiment]))

    def everything(self) -> str:
        """All that can be seen, as one text; run and model ids apart, which MLflow draws at random."""
        shown: list[Any] = []
        for name in self.names():
            run = self.run(name)
            points = {metric: self.curve(name, metric) for metric in run.data.metrics}
            tags = {key: value for key, value in run.data.tags.items() if "parentRunId" not in key}
            inputs = sorted((used.dataset.name, used.tags[0].value) for used in run.inputs.dataset_inputs)
            models = len(run.inputs.model_inputs), len(run.outputs.model_outputs)
            info = run.info.status, run.info.start_time, run.info.end_time
            shown.append([name, info, run.data.params, tags, points, inputs, models, self.files(name)])
        for model in self.models():
            metrics = sorted((metric.key, metric.step, metric.value) for metric in model.metrics)
            shown.append([model.name, str(model.status), model.params, metrics])
        return json.dumps(shown, indent=1, sort_keys=True)


@pytest.fixture(scope="session")
def mlflow_of() -> type[Tracking]:
    """Reads MLflow's content for a store."""
    return Tracking


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store").open()


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray of two CPUs while the tests of a file run."""
    with local_ray(num_cpus=2):
        yield
