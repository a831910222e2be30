"""Optimizer states that no further training starts from can be removed; weights stay, and a later reader of a state
gets the reason and the remedy."""

import shutil
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from arctic_model.checkpoint.errors import CheckpointError
from arctic_model.checkpoint.reading import open_weights
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from data_recipes import RunRecipe
from data_recipes.sections.training import TrainSection
from infra.artifact import Artifact
from infra.context import Event
from infra.events import EventLog
from infra.housekeeping.prune import Pruning, find_garbage, prune
from infra.plan import plan
from infra.runner import run_inline
from infra.stage import Stage, topological_order
from infra.store import Store
from pipelines import train
from pipelines.artifacts.checkpoint import checkpoint_folder
from pipelines.lineage.optimizer_states import ended_optimizer_states
from pipelines.lineage.states_of_recipe import ReleasedStates, releasing_stages
from pipelines.recipes import load_recipe
from tests.chaos.chain import SECTION, chain, inline, mix
from tests.pipelines.train.conftest import LENGTH

STEPS = 4
SCHEDULE = {"warmup_tokens": 128, "decay_start_tokens": None, "decay_end_tokens": None}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed here in the midst of a shard."""
    monkeypatch.setattr("tests.chaos.chain.SHARD_S", 0.0)


def two_phases(**second: Any) -> list[Stage]:
    *before, first = chain(STEPS)
    tokens = before[-2]
    again = Stage("mix", "2", params={"steps": STEPS}, inputs={"tokens:web": tokens}, work=partial(mix, STEPS))
    num_tokens = STEPS * int(SECTION["global_batch_sequences"]) * LENGTH
    settings = [train.SegmentSettings(STEPS, num_tokens, TrainSection(**SECTION | second), SCHEDULE)]
    inputs = train.TrainInputs(again, {"web": tokens}, first)
    return [*before, first, again, train.stage(2, settings, preset("tiny").to_dict(), inputs)]


def build(store: Store, stages: list[Stage]) -> tuple[dict[str, Artifact], list[str], dict[str, str]]:
    """The results, the ids of the stages that were built, and the errors of those that failed."""
    built: list[str] = []
    log = EventLog(store.root.parent / "run")
    outcome = run_inline(
        plan(store, inline(stages)),
        store,
        log,
        lambda event: built.append(event["stage"]) if event["event"] == "stage_finished" else None,
    )
    log.close()
    return outcome.artifacts, built, outcome.failed


def pruned(store: Store, artifacts: dict[str, Artifact]) -> Pruning:
    needed = {f"{each.folder.parent.name}/{each.folder.name}" for each in artifacts.values()}
    return prune(store, needed, more=ended_optimizer_states, waiting=lambda *_: None)


def optimizer_files(artifact: Artifact) -> list[Path]:
    return sorted(checkpoint_folder(artifact.folder).glob("optimizer-*.safetensors"))


def test_the_state_of_an_ended_phase_goes_and_its_weights_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    results, _, failed = build(store, two_phases())
    assert not failed
    first, second = results["train[1]"], results["train[2]"]
    states, weights = optimizer_files(first), ArcticModel.from_pretrained(checkpoint_folder(first.folder)).state_dict()
    size = sum(file.stat().st_size for file in states)

    (unfinished := store.root / "stages" / "train" / "2-0123.state").mkdir()
    needed = {f"{each.folder.parent.name}/{each.folder.name}" for each in results.values()}
    assert "optimizer state" not in {
        each.kind for each in find_garbage(store, needed, more=ended_optimizer_states).garbage
    }, "another second phase may start from it"
    unfinished.rmdir()

    (removed,) = pruned(store, results).garbage
    assert (removed.kind, removed.name, removed.bytes) == ("optimizer state", f"train/{first.folder.name}", size)
    assert optimizer_files(first) == []
    assert len(optimizer_files(second)) == len(states), "a longer run starts from the last phase's"
    assert pruned(store, results).garbage == ()

    assert store.damaged(first) == store.damaged(second) == []
    again = ArcticModel.from_pretrained(checkpoint_folder(first.folder)).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    with pytest.raises(CheckpointError, match="optimizer-00001"):
        open_weights(checkpoint_folder(first.folder), with_optimizer=True)
    assert build(store, two_phases())[1] == [], "nothing is built again"


def test_a_phase_that_needs_a_removed_state_names_the_mend_which_leads_to_the_same_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    results, _, _ = build(store, two_phases())
    pruned(store, results)
    _, built, failed = build(store, two_phases(peak_lr=0.001))
    assert built == ["mix[2]"] or built == []
    folder = results["train[1]"].folder
    assert (
        f"arctic prune --optimizer-states removed it. Delete {folder} and run the same command again"
        in (failed["train[2]"])
    )
    shutil.rmtree(folder)
    repeated, built, failed = build(store, two_phases(peak_lr=0.001))
    assert not failed
    assert built == ["train[1]", "train[2]"]
    assert repeated["train[1]"].digests == results["train[1]"].digests


@pytest.mark.parametrize("other", ["", "run", "state"])
def test_the_policy_of_a_recipe_removes_a_state_when_the_next_phase_is_trained(other: str, tmp_path: Path) -> None:
    """Unless another run goes on that names it, or unfinished training of another recipe is in the store."""
    store = Store(tmp_path / "store").open()
    stages = {stage.id: stage for stage in topological_order(two_phases())}
    released = ReleasedStates(store, stages, ["train[1]", "train[2]"])
    log = EventLog(tmp_path / "run")
    states: dict[str, int] = {}

    def watch(event: Event) -> None:
        released(event)
        first = store.find(stages["train[1]"])
        if event["event"] == "stage_finished" and first:
            states[event["stage"]] = len(optimizer_files(first))

    with ExitStack() as others:
        if other == "run":
            running = others.enter_context(closing(EventLog(store.root / "runs" / "other")))
            named = {"name": "train", "subject": "1", "key": stages["train[1]"].key}
            running.append({"event": "run_started", "run_id": "other", "name": "other", "stages": [named]})
        if other == "state":
            (store.root / "stages" / "train" / "2-0123.state").mkdir(parents=True)
        outcome = run_inline(plan(store, inline(list(stages.values()))), store, log, watch)
    log.close()
    assert not outcome.failed
    assert states["train[1]"] > 0, "the next phase starts from it"
    assert (states["train[2]"] > 0) == bool(other)
    assert optimizer_files(outcome.artifacts["train[2]"]), "a longer run starts from it"
    open_weights(checkpoint_folder(outcome.artifacts["train[1]"].folder))


def test_a_recipe_names_the_phases_whose_states_go() -> None:
    path = Path("data_recipes/runs/quickstart.toml")
    run = load_recipe(path, ["train.keep_optimizer_states=last", "phases.2.train.keep_optimizer_states=all"]).page
    assert isinstance(run, RunRecipe)
    assert releasing_stages(run) == ["train[1]", "train[3]", "finetune[instruct]"]
    plain = load_recipe(path).page
    assert isinstance(plain, RunRecipe)
    assert releasing_stages(plain) == []


def test_a_kill_between_note_and_removal_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store").open()
    results, _, _ = build(store, two_phases())
    real = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("optimizer-00002"):
            raise KeyboardInterrupt
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        pruned(store, results)
    monkeypatch.undo()
    assert store.damaged(results["train[1]"]) == []
    assert optimizer_files(results["train[1]"])
    pruned(store, results)
    assert optimizer_files(results["train[1]"]) == []
