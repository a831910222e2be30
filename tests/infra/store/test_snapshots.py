"""Snapshots of unfinished work in object storage: what one lists has its digest, or the stage begins again."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.context import StageContext
from infra.store import Store, remote
from infra.store.lease import Lease
from infra.store.objects import Entry, Objects
from infra.store.remote import Remote, Snapshots
from infra.store.store import Turn
from tests.infra.store.chains import chain, run, stored
from tests.kit.servers.s3_server import S3

BEGINS_AGAIN = "the stored unfinished work is incomplete: the stage begins again"
FILES = {"journal.jsonl": "one\n", "shards/000000/rows": "rows", "shards/000000/shard.json": "{}"}


def state_of(store: Store) -> tuple[Remote, Path]:
    """Its stored side, and the folder of a stage's state, which is there."""
    state = store.state(chain()[0])
    state.mkdir(parents=True, exist_ok=True)
    assert store.remote
    return store.remote, state


def contents(state: Path) -> dict[str, str]:
    return {file.relative_to(state).as_posix(): file.read_text() for file in state.rglob("*") if file.is_file()}


def restored(store: Store) -> dict[str, str]:
    """The contents of the state on a machine that has none of it yet."""
    remote, state = state_of(store)
    assert remote.restore_state(state)
    return contents(state)


@pytest.fixture
def snapshot(machine: Callable[[str], Store]) -> tuple[Remote, Path, Snapshots]:
    """A stored snapshot of FILES."""
    (remote, state), snapshots = state_of(machine("first")), Snapshots()
    for name, content in FILES.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(content)
    remote.save_state(state, snapshots)
    return remote, state, snapshots


def test_a_snapshot_removes_the_content_that_only_earlier_ones_listed(s3: S3, machine: Callable[[str], Store]) -> None:
    """As training does, which removes all but its last checkpoints."""
    store, stage = machine("first"), chain()[0]
    state = store.state(stage)
    state.mkdir(parents=True)
    snapshots = remote.Snapshots()
    assert store.remote
    for step in range(4):
        (state / f"step-{step}").write_text(f"weights of step {step}")
        if step > 1:
            (state / f"step-{step - 2}").unlink()
        store.remote.save_state(state, snapshots)
        states = {content for name, content in stored(s3).items() if re.search(r"states/.*/\w+$", name)}
        assert states == {f"weights of step {each}".encode() for each in range(max(0, step - 1), step + 1)}
    again = machine("second")
    assert again.remote
    again.state(stage).mkdir(parents=True)
    assert again.remote.restore_state(again.state(stage))
    assert sorted(file.name for file in again.state(stage).iterdir()) == ["step-2", "step-3"]


def test_unfinished_work_whose_content_is_gone_begins_again_and_says_so(
    s3: S3, machine: Callable[[str], Store]
) -> None:
    def broken(context: StageContext, inputs: object) -> dict[str, float]:
        (context.state / "half").write_text("half")
        raise ValueError("broken")

    run(machine("first"), chain(broken)[:1])
    [content] = [name for name in stored(s3) if re.search(r"states/.*/\w+$", name) and stored(s3)[name] == b"half"]
    Objects(s3.address()).delete(content)
    outcome, events = run(machine("second"), chain()[:1])
    assert outcome.ok
    assert [event["message"] for event in events if event["event"] == "warning"] == [BEGINS_AGAIN]


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("fetched", range(len(FILES)))
def test_a_restoration_that_was_cut_short_is_made_anew(
    error: type[BaseException], fetched: int, machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, state = state_of(machine("second"))
    fetch, left = Remote._fetch, [fetched]

    def dying(self: Remote, name: str, sha256: str, file: Path) -> None:
        if not left[0]:
            raise error
        left[0] -= 1
        fetch(self, name, sha256, file)

    monkeypatch.setattr("infra.store.remote.TRANSFERS", 1)
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(Remote, "_fetch", dying)
        remote.restore_state(state)
    assert remote.restore_state(state)
    assert contents(state) == FILES


@pytest.mark.parametrize("content", FILES.values())
def test_unfinished_work_whose_content_is_damaged_begins_again_and_stores_it_anew(
    content: str, s3: S3, machine: Callable[[str], Store], snapshot: tuple[Remote, Path, Snapshots]
) -> None:
    name = next(name for name, held in stored(s3).items() if held.decode() == content)
    Objects(s3.address()).put(name, b"other bytes")
    second, empty = state_of(machine("second"))
    assert not second.restore_state(empty)
    assert contents(empty) == {}
    # The next attempt of the same work has the same content, under the same name.
    remote, state, _ = snapshot
    remote.save_state(state, Snapshots())
    assert stored(s3)[name] == content.encode()


def test_a_file_that_grows_while_it_is_sent_waits_for_the_next_snapshot(
    s3: S3, machine: Callable[[str], Store], snapshot: tuple[Remote, Path, Snapshots], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_side, state, snapshots = snapshot
    put = Objects.put

    def late(self: Objects, name: str, content: bytes | Path) -> None:
        if isinstance(content, Path) and content.name == "journal.jsonl":
            with content.open("a") as file:
                file.write("and more\n")
        put(self, name, content)

    (state / "journal.jsonl").write_text("one\ntwo\n")
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put", late)
        stored_side.save_state(state, snapshots)
    assert restored(machine("second")) == FILES
    stored_side.save_state(state, snapshots)
    assert restored(machine("third")) == {**FILES, "journal.jsonl": "one\ntwo\nand more\n"}


def test_a_file_that_grows_after_its_content_was_stored_leaves_that_content(
    machine: Callable[[str], Store], snapshot: tuple[Remote, Path, Snapshots], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier snapshot lists it."""
    stored_side, state, snapshots = snapshot
    head = Objects.head

    def late(self: Objects, name: str) -> Entry | None:
        found = head(self, name)
        with (state / "journal.jsonl").open("a") as file:
            file.write("and more\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "head", late)
        stored_side.save_state(state, snapshots)
    assert restored(machine("second")) == FILES


def test_a_run_that_lost_its_stage_stores_no_snapshot(s3: S3, snapshot: tuple[Remote, Path, Snapshots]) -> None:
    remote, state, _ = snapshot
    before = stored(s3)
    (state / "late").write_text("work of a run that was thought dead")
    lease = Lease(remote.objects, "leases/source/web.json", b"", ("", ""), lost="another run took the stage over")
    Turn(lease).snapshot(remote, state)
    assert stored(s3) == before
