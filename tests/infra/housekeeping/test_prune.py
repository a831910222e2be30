"""`prune` removes everything that no run uses, and nothing else, even if it is killed at any moment."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.events import EventLog
from infra.housekeeping.prune import PruneError, find_garbage, prune
from infra.housekeeping.roots import results_of, run_records
from infra.plan import plan
from infra.session import RunInfo, execute
from infra.store import Store, garbage
from infra.store.garbage import temporary_store
from infra.store.locks import locked
from infra.store.objects import Objects
from tests.infra.housekeeping.conftest import chain, run
from tests.kit.servers.s3_server import S3


def ignore(_holder: str, _seconds: float) -> None:
    """Wait in silence."""


def names(store: Store) -> set[str]:
    store.refresh()
    return {f"{each.manifest.id} {each.manifest.key}" for each in store.artifacts()}


def kinds(store: Store, **options: object) -> Counter[str]:
    return Counter(each.kind for each in find_garbage(store, **options).garbage)


def everything(store: Store) -> set[str]:
    """Names of all files and objects that the store has."""
    local = {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}
    remote = {entry.name for entry in store.remote.objects.entries()} if store.remote else set()
    return local | remote


@pytest.fixture(autouse=True)
def orphans_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "ORPHAN_S", -1.0)


def test_results_of_runs_stay_until_later_runs_push_them_out(store: Store) -> None:
    run(store, chain(1))
    run(store, chain(2))
    run(store, chain(3), "other")
    remaining = names(store)
    assert kinds(store)["result"] == 0
    assert kinds(store, last=1) & Counter({"result": 9}) == {"result": 2}
    assert kinds(store, last=0, needed=results_of(chain(1))) & Counter({"result": 9}) == {"result": 4}
    pruning = prune(store, last=1, waiting=ignore)
    assert {each.name for each in pruning.garbage if each.kind == "result"} == {
        f"{stage.name}/web-{stage.key}" for stage in chain(1)
    }
    assert names(store) == {name for name in remaining if not name.endswith(tuple(stage.key for stage in chain(1)))}
    assert kinds(store, last=1) == {}


def test_sizes_are_those_of_the_files(store: Store) -> None:
    run(store, chain(1))
    sizes = {each.name: each.bytes for each in find_garbage(store, last=0).garbage if each.kind == "result"}
    texts = [len("source[web]"), len("source[web]filter[web]")]
    assert sizes == dict(zip([f"{stage.name}/web-{stage.key}" for stage in chain(1)], texts, strict=True))


def test_a_run_can_be_forgotten_by_its_id_unless_it_goes_on(store: Store) -> None:
    first = run(store, chain(1)).run_id
    assert kinds(store, forget=[first])["result"] == 2
    with pytest.raises(PruneError, match=rf"--forget nobody: no such run. The store has {first}"):
        find_garbage(store, forget=["nobody"])
    log = EventLog(store.root / "runs" / "live")
    log.append({"event": "run_started", "run_id": "live", "name": "tiny", "stages": []})
    with pytest.raises(PruneError, match="--forget live: it goes on"):
        find_garbage(store, forget=["live"])
    log.close()
    assert {record.run_id: record.state for record in run_records(store)}["live"] == "ended"


def test_whatever_a_running_run_uses_stays_even_if_later_runs_push_it_out(store: Store) -> None:
    run(store, chain(1))
    log = EventLog(store.root / "runs" / "live")
    stages = [{"name": stage.name, "subject": "web", "key": stage.key} for stage in chain(1)]
    log.append({"event": "run_started", "run_id": "live", "name": "tiny", "stages": stages, "time": 0.0})
    run(store, chain(2))
    assert kinds(store, last=0)["result"] == 2
    log.close()
    assert kinds(store, last=0)["result"] == 4


def test_a_run_of_another_machine_counts_until_its_end_is_stored(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCTIC_WORK", str(tmp_path / "first"))
    first = Store(s3.address()).open()
    seen = []

    def look(event: dict[str, object]) -> None:
        """Prune from another machine while the run goes on."""
        if event["event"] == "stage_reused" and not seen:
            monkeypatch.setenv("ARCTIC_WORK", str(tmp_path / "second"))
            second = Store(s3.address()).open()
            seen.append(kinds(second, last=0)["result"])
            [open_run] = [record for record in run_records(second) if record.state == "open"]
            seen.append(kinds(second, last=0, forget=[open_run.run_id])["result"])

    run(first, chain(1))
    execute(plan(first, chain(1)), first, RunInfo("tiny"), on_event=look)
    assert seen == [0, 2]
    assert kinds(first, last=0)["result"] == 2


def test_a_run_that_was_planned_before_a_prune_builds_the_removed_results(store: Store) -> None:
    run(store, chain(1))
    planned = plan(store, chain(1))
    prune(store, last=0, waiting=ignore)
    result = execute(planned, store, RunInfo("tiny"))
    assert {name: stage.status for name, stage in result.stages.items()} == {
        "source[web]": "built",
        "filter[web]": "built",
    }


def test_prune_waits_for_a_run_that_is_about_to_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    run(store, chain(1))
    waited: list[str] = []
    with store.pruning_blocked(ignore) as _, pytest.raises(TimeoutError):

        def stop(holder: str, _seconds: float) -> None:
            waited.append(holder)
            raise TimeoutError

        prune(store, last=0, waiting=stop)
    assert waited[0].startswith(f"process {os.getpid()} on ")
    assert len(names(store)) == 2


def test_work_of_dead_attempts_goes_and_that_of_the_living_or_of_a_run_stays(store: Store) -> None:
    dead, needed, living = chain(1)[0], chain(2)[0], chain(3)[0]
    for stage in (dead, needed, living):
        store.state(stage).mkdir(parents=True)
        (store.state(stage) / "step").write_text("half")
        (store.scratch(stage) / "part").write_text("half a shard")
    (store.root / "stages" / "source" / "web-0123456789ab").mkdir()
    with locked(store.state(living) / "lock", ignore):
        result = find_garbage(store, results_of([needed])).garbage
        assert Counter(each.kind for each in result) == {"unfinished work": 2, "scratch of a dead attempt": 2}
        assert sum(each.bytes for each in result) == len("half") + 2 * len("half a shard")
        prune(store, results_of([needed]), waiting=ignore)
        left = {path.name for path in (store.root / "stages" / "source").iterdir() if not path.name.startswith(".")}
        assert left == {f"web-{needed.key}.state", f"web-{living.key}.state"}
        scratch = [path.name for path in (store.root / "stages" / "source").glob(".*")]
        assert len(scratch) == 1 and living.key in scratch[0]


def test_checkpoints_beside_a_result_go_with_it(store: Store) -> None:
    """Training keeps some, as KEY.kept and KEY.weights."""
    run(store, chain(1))
    run(store, chain(2))
    beside = [store.root / "stages" / stages[0].name / f"web-{stages[0].key}.kept" for stages in (chain(1), chain(2))]
    for folder in beside:
        (folder / "step-000000004").mkdir(parents=True)
    assert kinds(store)["unfinished work"] == 0
    prune(store, last=1, waiting=ignore)
    assert [folder.exists() for folder in beside] == [False, True]


def test_content_and_states_in_object_storage_go_with_the_last_that_names_them(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(s3.address()).open()
    run(store, chain(1))
    run(store, chain(2), "other")
    stored = Objects(s3.address())
    # Both chains have the same texts, so both sources name one content.
    contents = {entry.name for entry in stored.entries("files")}
    assert len(contents) == 2
    stored.put("files/orphan", b"of an attempt that died")
    stored.put("states/source/web-0.json", json.dumps({"a": "1"}).encode())
    stored.put("states/source/web-0/1", b"half")
    stored.put("commits/source/web-1.x", json.dumps(["announced"]).encode())
    stored.put("files/announced", b"of a commit that goes on")
    monkeypatch.setattr(garbage, "ORPHAN_S", 86_400.0)
    assert kinds(store)["content"] == 0, "content may belong to a snapshot or a commit that goes on"
    monkeypatch.setattr(garbage, "ORPHAN_S", -1.0)
    prune(store, last=1, forget=[run_records(store)[0].run_id], waiting=ignore)
    left = {entry.name for entry in stored.entries()}
    assert contents | {"files/announced"} == {name for name in left if name.startswith("files")}
    assert not [name for name in left if name.startswith("states")]
    assert len([name for name in left if name.startswith("manifests")]) == 2


def test_a_prune_that_is_killed_after_any_step_leaves_whole_results_and_the_next_one_ends_it(store: Store) -> None:
    run(store, chain(1))
    run(store, chain(2))
    num_steps = len(find_garbage(store, last=0).garbage)
    assert num_steps >= 4
    for step in range(num_steps):
        run(store, chain(1))
        run(store, chain(2))
        pruning = find_garbage(store, last=0)
        for each in pruning.garbage[:step]:
            each.remove()
        # Half of the next part: its removal is cut after the first file.
        store.refresh()
        for artifact in store.artifacts():
            assert store.damaged(artifact) == []
        prune(store, last=0, waiting=ignore)
        assert names(store) == set()
    assert {name.partition("/")[0] for name in everything(store)} == {"runs", ".pruning.lock"}


def test_a_removal_that_is_cut_short_hides_nothing_of_a_later_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store").open()
    run(store, chain(1))

    def die(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("infra.store.store.shutil.rmtree", die)
        prune(store, last=0, waiting=ignore)
    assert run(store, chain(1)).ok
    assert kinds(store)["scratch of a dead attempt"] == 0


def test_names_may_hold_any_character_that_is_no_end_of_a_line(tmp_path: Path) -> None:
    """U+2028 and the like end a line of a text, not one of a log."""
    store = Store(tmp_path / "store").open()
    run(store, chain(1), "tiny\u2028\u0085\x1c\x0bruns")
    assert [record.name for record in run_records(store)] == ["tiny\u2028\u0085\x1c\x0bruns"]
    assert kinds(store)["result"] == 0


def test_a_temporary_store_stays_while_its_process_lives_and_leaves_nothing(store: Store) -> None:
    made = run(store, chain(1))
    with temporary_store(store) as inner:
        assert inner.root.is_relative_to(store.root)
        assert run(inner, chain(1)).ok
        assert not kinds(store)["temporary store"]
        prune(store, waiting=ignore)
        assert len(list(inner.artifacts())) == len(list(store.artifacts())) == len(made.stages)
    assert not inner.root.exists()


def test_a_temporary_store_whose_process_was_killed_is_garbage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    code = (
        "import os, sys; from infra.store import Store; from infra.store.garbage import temporary_store;"
        "held = temporary_store(Store(sys.argv[1])); inner = held.__enter__();"
        "(inner.root / 'big').write_bytes(b'0' * 1000);"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.root)]).returncode == -9
    (left,) = find_garbage(store).garbage
    assert left.kind == "temporary store" and left.bytes >= 1000
    prune(store, waiting=ignore)
    assert find_garbage(store).garbage == ()
    assert not list(store.root.glob(".temporary-*"))
