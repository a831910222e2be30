"""Folders that a user names, and their checkpoints."""

from pathlib import Path

import pytest

from infra.artifact import Artifact
from infra.events import EventLog
from infra.stage import Stage
from infra.store import Store
from pipelines.errors import OptionError
from pipelines.graph.checkpoints import CHECKPOINTS, checkpoints_of, resolve_checkpoint
from pipelines.train import TrainInputs
from tests.kit.stages import idle_stage

TOKENIZER = idle_stage("tokenizer")
CORPUS = [idle_stage(name, "web") for name in ("source", "filter", "dedup")]
TOKENS = idle_stage("tokenize", "web", {}, {"tokenizer": TOKENIZER, **{stage.name: stage for stage in CORPUS}})


def train(number: int, seed: int) -> Stage:
    inputs = TrainInputs(idle_stage("mix", str(number)), {"web": TOKENS})
    return idle_stage("train", str(number), {"seed": seed}, inputs.named())


def commit(store: Store, stage: Stage) -> Artifact:
    scratch = store.scratch(stage)
    (scratch / "checkpoint").mkdir()
    (scratch / "checkpoint" / "config.json").write_text("{}")
    return store.commit(stage, scratch, metrics={}, quarantined=[], seconds=1.0, provenance={}, shards={})


def start(store: Store, name: str, time: float, stages: list[Stage]) -> None:
    log = EventLog(store.root / "runs" / f"{name}-{time}")
    planned = [
        {"id": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}
        | {"inputs": {field: upstream.key for field, upstream in stage.inputs.items()}}
        for stage in stages
    ]
    log.append({"time": time, "event": "run_started", "run_id": name, "name": name, "stages": planned})
    log.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two runs of one phase, the later one with a second phase that still trains."""
    store = Store(tmp_path / "store").open()
    for stage in (TOKENIZER, *CORPUS, TOKENS, train(1, 0), train(1, 1)):
        commit(store, stage)
    for step in (10, 20):
        (store.state(train(2, 1)) / CHECKPOINTS / f"step-{step:09d}").mkdir(parents=True)
    start(store, "older", 1.0, [train(1, 0)])
    start(store, "newer", 2.0, [train(1, 1), train(2, 1)])
    start(store, "evaluate-other", 3.0, [idle_stage("evaluate", "other")])
    return store


def test_a_store_stands_for_the_checkpoints_of_its_latest_run_with_those_that_a_phase_keeps(store: Store) -> None:
    first = store.path(train(1, 1))
    remaining = [store.state(train(2, 1)) / CHECKPOINTS / f"step-{step:09d}" for step in (10, 20)]
    assert checkpoints_of(store.root, None) == [first, *remaining]
    assert checkpoints_of(store.root, 1) == [first]
    assert checkpoints_of(store.root, 2) == remaining
    assert checkpoints_of(first, None) == [first]
    with pytest.raises(OptionError, match=r"this store has no checkpoint of phase 3\. Run a recipe in it"):
        checkpoints_of(store.root, 3)
    with pytest.raises(OptionError, match=r"--phase 1: .* is no store\. Leave it out, or give a store"):
        checkpoints_of(first, 1)


def test_a_store_knows_the_tokenizer_the_run_and_the_result_of_a_checkpoint(store: Store) -> None:
    for stage, run in ((train(1, 0), "older"), (train(1, 1), "newer")):
        existing = resolve_checkpoint(store.path(stage))
        assert (existing.folder, existing.key, existing.run) == (store.path(stage) / "checkpoint", stage.key, run)
        assert existing.tokenizer == store.path(TOKENIZER)
        assert existing == resolve_checkpoint(existing.folder)


def test_a_checkpoint_of_a_phase_that_still_trains_is_known_by_the_run_that_trains_it(store: Store) -> None:
    folder = checkpoints_of(store.root, 2)[1]
    existing = resolve_checkpoint(folder)
    assert (existing.folder, existing.key, existing.run) == (folder, "", "newer")
    assert existing.tokenizer == store.path(TOKENIZER)
    assert existing.label == f"train-2-{train(2, 1).key}-step-000000020"


@pytest.mark.parametrize("beside", [".kept/checkpoints", ".weights"])
def test_a_checkpoint_that_a_phase_leaves_beside_its_result_is_known_by_its_run(store: Store, beside: str) -> None:
    folder = store.root / "stages" / "train" / f"1-{train(1, 1).key}{beside}" / "step-000000010"
    folder.mkdir(parents=True)
    existing = resolve_checkpoint(folder)
    assert (existing.folder, existing.run, existing.tokenizer) == (folder, "newer", store.path(TOKENIZER))
    assert existing.label == f"train-1-{train(1, 1).key}-step-000000010"


def test_any_other_folder_is_a_checkpoint_that_no_store_knows(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    existing = resolve_checkpoint(tmp_path / "model")
    assert (existing.label, existing.tokenizer, existing.key, existing.run) == ("model", None, "", "")


def test_the_folder_has_the_name_that_training_gives_it() -> None:
    from arctic_model.training import saving

    assert saving.CHECKPOINTS == CHECKPOINTS
