"""A stage's work, run in the test's own process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.artifact import Artifact
from infra.runner import build
from infra.stage import Stage
from infra.store import Store


@dataclass
class Attempt:
    """The output of an attempt of a stage, committed to a separate store."""

    artifact: Artifact

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.artifact.manifest.metrics

    @property
    def quarantined(self) -> list[Mapping[str, str]]:
        return list(self.artifact.manifest.quarantined)


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Attempt]:
    """`attempt(stage, folder_name, **inputs)`: one attempt of the stage without Ray."""

    def attempt(stage: Stage, name: str, **inputs: Artifact) -> Attempt:
        store = Store(tmp_path / name)
        store.open()
        return Attempt(build(stage, store, [].append, None, *(inputs[name] for name in stage.inputs)))

    return attempt
