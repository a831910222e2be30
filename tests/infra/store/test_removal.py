"""A removal that a kill cuts short leaves nothing that a later attempt takes for finished work."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from infra.context import StageContext
from infra.fanout import map_shards
from infra.stage import Stage
from infra.store import Store
from infra.store.garbage import garbage
from tests.infra.store.chains import run

SHARDS = range(2)
CALLS = 9
"""Files and folders of the state, but one."""


class KilledError(BaseException):
    """Stands for the end of the process: no `except Exception` and no `ignore_errors` holds it up."""


def shard(number: int, folder: Path) -> dict[str, int]:
    for name in ("first", "second"):
        (folder / f"{number}-{name}").write_text(f"{name} of {number}")
    return {"files": 2}


def work(context: StageContext, inputs: object) -> dict[str, float]:
    return {"shards": float(len(map_shards(context, shard, SHARDS)))}


def unfinished(store: Store) -> Stage:
    """A stage whose shards are all finished, and that is not committed."""
    stage, out = Stage("count", work=work), store.root / "out"
    out.mkdir()
    store.state(stage).mkdir(parents=True)
    work(StageContext(stage.id, out, store.state(stage), [].append), {})
    return stage


def commit(store: Store, stage: Stage) -> None:
    scratch = store.scratch(stage)
    for number in SHARDS:
        shard(number, scratch)
    store.commit(stage, scratch, metrics={}, quarantined=[], seconds=0, provenance={}, shards={})


def prune(store: Store, stage: Stage) -> None:
    for each in list(garbage(store, set())):
        each.remove()


def begin_after_commit(store: Store, stage: Stage) -> None:
    """As the next run does behind a process that died between the commit and the removal of its state."""
    store.state(stage).rename(store.root / "aside")
    commit(store, stage)
    (store.root / "aside").rename(store.state(stage))
    with store.building(stage, lambda _holder, _seconds: None):
        pass


REMOVALS: dict[str, Callable[[Store, Stage], None]] = {
    "prune": prune,
    "commit": commit,
    "the next attempt": begin_after_commit,
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("calls", range(CALLS + 3))
def test_a_state_whose_removal_was_killed_is_whole_or_gone(
    removal: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of the first calls that remove a file or folder; the result is dropped then and built anew."""
    store = Store(tmp_path / "store").open()
    stage, left = unfinished(store), [calls]

    def until_the_kill(name: str) -> Callable[..., object]:
        call: Callable[..., object] = getattr(os, name)

        def counted(path: object, *arguments: object, **options: object) -> object:
            if "count" in os.fspath(path) or options.get("dir_fd") is not None:  # type: ignore[call-overload]
                if not left[0]:
                    raise KilledError
                left[0] -= 1
            return call(path, *arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, until_the_kill(name))
        killed = suppress(KilledError) if calls > CALLS else pytest.raises(KilledError)
        with killed:
            REMOVALS[removal](store, stage)
    if artifact := store.find(stage):
        store.drop(artifact, [])
    outcome, _ = run(store, [stage])
    assert outcome.ok, outcome.failed
    assert {file.name: file.read_text() for file in outcome.artifacts[stage.id].path.glob("?-*")} == {
        f"{number}-{name}": f"{name} of {number}" for number in SHARDS for name in ("first", "second")
    }
    assert not list(store.root.glob("stages/*/.*"))
