"""A stage's work, run in the test's own process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.context import StageContext
from infra.stage import Stage
from infra.store import Artifact


@dataclass
class Attempt:
    """What an attempt of a stage left behind."""

    artifact: Artifact
    metrics: Mapping[str, float]
    quarantined: list[Mapping[str, str]]


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Attempt]:
    """`attempt(stage, folder_name, **inputs)`: one attempt of the stage without Ray."""

    def attempt(stage: Stage, name: str, **inputs: Artifact) -> Attempt:
        out, state = tmp_path / name / "out", tmp_path / name / "state"
        for folder in (out, state):
            folder.mkdir(parents=True)
        context = StageContext(stage.id, out, state, [].append)
        metrics = stage.work(context, inputs)
        return Attempt(Artifact(out, None), metrics, context.quarantined)

    return attempt
