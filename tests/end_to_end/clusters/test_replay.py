"""A replay builds a second store where all machines see it, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest

import pipelines
from infra.resources.capacity import Pool
from infra.store import Store
from infra.store.garbage import garbage
from infra.store.remote import WORK_VARIABLE
from pipelines import Recipe
from pipelines.errors import OptionError
from pipelines.replay import replay
from tests.kit.servers.local_ray import local_ray
from tests.kit.servers.s3_server import CREDENTIALS, running_s3

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("untracked")]


@pytest.fixture
def notes(tmp_path: Path) -> Recipe:
    """A corpus of 40 pages that are all kept."""
    lines = [{"text": f"the page of {number} that is to be read with the others and has it"} for number in range(40)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = {"inputs": [{"kind": "jsonl", "paths": [str(tmp_path / "notes.jsonl")]}]}
    kept = {"min_words": 1, "min_stop_words": 0, "max_top_2gram_fraction": 1.0}
    return Recipe.of({"name": "notes", "description": "", "source": source, "filter": kept})


def test_a_replay_works_below_the_root_of_its_store_and_is_no_garbage_meanwhile(notes: Recipe, tmp_path: Path) -> None:
    store, seen = Store(tmp_path / "store"), list[str]()

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "stage_finished":
            (folder,) = store.root.glob(".temporary-*")
            seen.extend(artifact.manifest.id for artifact in Store(folder).artifacts())
            names = {f"{artifact.folder.parent.name}/{artifact.folder.name}" for artifact in store.artifacts()}
            assert list(garbage(store, names)) == []

    with local_ray(num_cpus=2):
        assert pipelines.run(notes, store.root).ok
        compared = replay(notes, store.root, on_event=watch)
    assert all(each.is_same for each in compared) and len(compared) == 4
    assert {each.stage for each in compared} == set(seen)
    assert not list(store.root.glob(".temporary-*"))


def test_a_replay_that_fails_leaves_nothing_behind(notes: Recipe, tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "stage_finished":
            raise KeyboardInterrupt

    with local_ray(num_cpus=2):
        assert pipelines.run(notes, tmp_path / "store").ok
    # The replay's own connection ends its tasks with it.
    with pytest.raises(KeyboardInterrupt):
        replay(notes, tmp_path / "store", on_event=interrupt)
    assert not list((tmp_path / "store").glob(".temporary-*"))


def test_a_replay_from_object_storage_asks_for_one_machine(
    notes: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machines of a cluster share no folder."""
    for name, value in {**CREDENTIALS, WORK_VARIABLE: str(tmp_path / "work")}.items():
        monkeypatch.setenv(name, value)
    with running_s3() as server, local_ray(num_cpus=2):
        assert pipelines.run(notes, server.address()).ok
        assert all(each.is_same for each in replay(notes, server.address()))
        monkeypatch.setattr("infra.resources.capacity.machines_up", lambda: (Pool(2, 0, 1),) * 2)
        with pytest.raises(OptionError, match="a cluster of one machine"):
            replay(notes, server.address())
