"""A flipped bit in a committed file of any kind is named by the stages that read it, or changes none of their files."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from data_recipes import load_run
from infra.artifact import Artifact
from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store, StoreError
from pipelines.graph import Graph, run_graph
from tests.kit.files import flip

SMALL = [
    *("train.num_workers=1", "train.expert_parallel_size=1"),
    *(f"phases.{number}.tokens=5120" for number in (1, 2, 3)),
]
TIMED = {"report"}
"""Stages whose files hold seconds."""


class Run:
    """A small run in a separate store, built in this process."""

    def __init__(self, graph: Graph, store: Store) -> None:
        self.stages = list(graph.stages.values())
        self.store = store
        self.log = EventLog(store.root / "runs" / "one")
        assert self.build() == {}
        self.artifacts = list(store.artifacts())
        self.digests = {artifact.manifest.id: artifact.digests for artifact in self.artifacts}

    def build(self) -> Mapping[str, str]:
        """Build the missing stages. Errors by stage id."""
        return run_inline(plan(self.store, self.stages), self.store, self.log, [].append).failed

    def one_of_each_stage(self) -> list[Artifact]:
        """The first result of each stage that others read, by the stage's name."""
        return list({each.manifest.name: each for each in reversed(self.artifacts) if self.readers(each)}.values())

    def readers(self, artifact: Artifact) -> list[Stage]:
        return [stage for stage in self.stages if artifact.manifest.id in [each.id for each in stage.inputs.values()]]

    def rebuild(self, stages: list[Stage]) -> Mapping[str, str]:
        """Build stages again from the results that they read, no other. Errors by stage id."""
        for stage in stages:
            for folder in (self.store.path(stage), self.store.state(stage)):
                shutil.rmtree(folder, ignore_errors=True)
        planned = [step for step in plan(self.store, self.stages) if step.stage in stages or step.artifact]
        return run_inline(planned, self.store, self.log, [].append).failed


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Run:
    return Run(run_graph(*load_run(recipe, SMALL), recipe.parent), Store(tmp_path / "store").open())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_flipped_bit_of_any_committed_file_is_named_or_changes_nothing(run: Run) -> None:
    generator = np.random.default_rng(11)
    noticed: set[str] = set()
    for artifact in run.one_of_each_stage():
        readers = run.readers(artifact)
        for file in sorted(artifact.path.rglob("*")):
            if file.is_dir() or not file.stat().st_size:
                continue
            whole = file.read_bytes()
            bit = int(generator.integers(0, 8 * len(whole)))
            flip(file, bit)
            try:
                errors = run.rebuild(readers)
            except StoreError as error:
                errors = {"plan": str(error)}
            file.write_bytes(whole)
            location = f"{file.relative_to(run.store.root)}, bit {bit}"
            for error in errors.values():
                assert str(artifact.path) in error and "Delete" in error, f"{location}: {error}"
            if errors:
                noticed.add(f"{artifact.manifest.name} {file.suffix}")
                assert run.build() == {}
            assert changed(run, readers) == [], location
    assert {"train .safetensors", "tokenize .json", "source .parquet", "mix .json"} <= noticed


def changed(run: Run, stages: list[Stage]) -> list[str]:
    """Which of these stages have other files than at first."""
    result = {stage.id: run.store.find(stage) for stage in stages if stage.name not in TIMED}
    return [name for name, artifact in result.items() if artifact is None or artifact.digests != run.digests[name]]
