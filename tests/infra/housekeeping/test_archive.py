"""A run travels from store to store in one archive, and nothing else comes out of one."""

import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.artifact import Manifest
from infra.context import StageContext
from infra.housekeeping import archive as archives
from infra.housekeeping.archive import ArchiveError, export_run, import_run
from infra.housekeeping.prune import find_garbage, prune
from infra.plan import plan
from infra.stage import Stage
from infra.store import Store
from tests.infra.housekeeping.conftest import chain, run
from tests.kit.files import watched_disk


def ignore(_holder: str, _seconds: float) -> None:
    """Nobody else has the store."""


Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The archive of a run of a chain."""
    origin = Store(tmp_path / "origin").open()
    run_id = run(origin, chain(1)).run_id
    export_run(origin, run_id, tmp_path / "run.tar")
    return tmp_path / "run.tar"


def members_of(file: Path) -> Members:
    with tarfile.open(file) as opened:
        return [(member, opened.extractfile(member).read()) for member in opened]  # type: ignore[union-attr]


def rewrite(file: Path, members: Members) -> None:
    with tarfile.open(file, "w") as opened:
        for member, content in members:
            if member.isreg():
                member.size = len(content)
            opened.addfile(member, io.BytesIO(content))


def test_another_store_takes_a_run_and_reuses_its_results(store: Store, tmp_path: Path, archive: Path) -> None:
    imported = import_run(store, archive, ignore)
    assert len(imported.committed) == 2 and not imported.present
    assert [step.action for step in plan(store, chain(1))] == ["reuse", "reuse"]
    origin = Store(tmp_path / "origin")
    for stage in chain(1):
        ours, theirs = store.find(stage), origin.find(stage)
        assert ours and theirs and ours.manifest == theirs.manifest
        assert store.damaged(ours) == []
    folder = Path("runs") / imported.run_id
    for name in ("lock.json", "events.jsonl"):
        assert (store.root / folder / name).read_bytes() == (origin.root / folder / name).read_bytes()
    again = import_run(store, archive, ignore)
    assert not again.committed and len(again.present) == 2


def test_two_exports_of_a_run_have_the_same_bytes_in_every_kind_of_store(
    store: Store, tmp_path: Path, archive: Path
) -> None:
    run_id = import_run(store, archive, ignore).run_id
    export_run(store, run_id, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_an_archive_is_whole_after_a_power_cut(tmp_path: Path) -> None:
    origin, file = Store(tmp_path / "origin").open(), tmp_path / "exported" / "run.tar"
    file.parent.mkdir()
    run_id = run(origin, chain(1)).run_id
    with watched_disk() as disk:
        export_run(origin, run_id, file)
    assert disk.cut(file.parent) == []
    file.with_name("folder").mkdir()
    with pytest.raises(IsADirectoryError):
        export_run(origin, run_id, file.with_name("folder"))


def test_an_unfinished_run_is_exported_with_a_list_of_what_it_lacks(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    run_id = run(store, chain(1)).run_id
    artifact = store.find(chain(1)[1])
    assert artifact
    store.drop(artifact, [])
    exported = export_run(store, run_id, tmp_path / "run.tar")
    assert exported.missing == (f"filter/web-{chain(1)[1].key}",)
    assert exported.results == (f"source/web-{chain(1)[0].key}",)
    with pytest.raises(ArchiveError, match=rf"run tiny: not in store .* It has {run_id}"):
        export_run(store, "tiny", tmp_path / "none.tar")


def test_a_damaged_result_is_not_exported(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    run_id = run(store, chain(1)).run_id
    artifact = store.find(chain(1)[0])
    assert artifact
    (artifact.path / "sub" / "text").write_text("source[wXb]")
    with pytest.raises(ArchiveError, match="text: damaged"):
        export_run(store, run_id, tmp_path / "run.tar")
    assert [file for file in tmp_path.iterdir() if file.is_file()] == []


def renamed(old: str, new: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        for member, _ in members:
            member.name = member.name.replace(old, new)
        return members

    return change


def flipped(suffix: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        return [
            (member, bytes([content[0] ^ 1]) + content[1:] if member.name.endswith(suffix) else content)
            for member, content in members
        ]

    return change


def longer(members: Members) -> Members:
    return [(member, content * (2 if member.name.endswith("sub/text") else 1)) for member, content in members]


def hollow(members: Members) -> Members:
    """A file with a hole (GNU tar, `--sparse`): a few bytes that unfold to any size."""
    for index, (member, content) in enumerate(members):
        if member.name.endswith("sub/text"):
            member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
            members[index] = member, f"1\n{2**40 - len(content)}\n{len(content)}\n".encode().ljust(512, b"\0") + content
    return members


def linked(members: Members) -> Members:
    for member, _ in members:
        if member.name.endswith("sub/text"):
            member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
    return members


def with_manifest(change: Callable[[dict[str, object]], None]) -> Callable[[Members], Members]:
    """The manifests changed, each with the right digest of itself: their author is who made the archive."""

    def changed(members: Members) -> Members:
        made: Members = []
        for member, content in members:
            if member.name.endswith("manifest.json"):
                fields = json.loads(content)
                del fields["sha256"]
                change(fields)
                digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
                content = json.dumps({**fields, "sha256": digest}).encode()
                Manifest.from_json(content.decode())
            made.append((member, content))
        return made

    return changed


def escape(fields: dict[str, object]) -> None:
    fields["files"] = [{**entry, "path": "../../../evil"} for entry in fields["files"]]  # type: ignore[attr-defined]


def pose(fields: dict[str, object]) -> None:
    fields["params"] = {"pages": 999}


def absolute(fields: dict[str, object]) -> None:
    fields["files"] = [{**entry, "path": "/tmp/evil"} for entry in fields["files"]]  # type: ignore[attr-defined]


ATTACKS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a flipped bit in a file": (flipped("sub/text"), "damaged, its bytes have another digest"),
    "a flipped bit in a manifest": (flipped("manifest.json"), "not a manifest as it was committed"),
    "a flipped bit in the log": (flipped("events.jsonl"), "not the event log of a run"),
    "a member outside": (renamed("sub/text", "../../text"), "expected the plain file"),
    "an absolute member": (renamed("stages/", "/stages/"), "expected the plain file"),
    "a file with a hole": (hollow, "expected the plain file"),
    "a file of another size": (longer, "bytes instead of"),
    "a link": (linked, "expected the plain file"),
    "a path that climbs": (with_manifest(escape), "is no path of a result's file"),
    "an absolute path": (with_manifest(absolute), "is no path of a result's file"),
    "parameters of another key": (with_manifest(pose), "its parameters and inputs have"),
    "a run file outside": (renamed("lock.json", "../../lock.json"), "is no name of a run, stage or file"),
    "another run's name": (renamed("runs/", "runs/../"), "is no name of a run, stage or file"),
    "the end is missing": (lambda members: members[:3], "ends before"),
    "no index": (lambda members: members[1:], "expected the plain file archive.json"),
    "no log": (lambda members: members[:-2], "not the event log of a run"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_that_was_tampered_with_is_refused_and_writes_nothing_outside(
    attack: str, archive: Path, tmp_path: Path
) -> None:
    change, message = ATTACKS[attack]
    rewrite(archive, change(members_of(archive)))
    store = Store(tmp_path / "parent" / "folder" / "store").open()
    before = {path for path in tmp_path.rglob("*") if store.root not in path.parents}
    with pytest.raises(ArchiveError, match=message):
        import_run(store, archive, ignore)
    assert {path for path in tmp_path.rglob("*") if store.root not in path.parents} == before
    assert list((store.root / "runs").iterdir()) == []
    assert [path for path in store.root.rglob(".*") if path.name != ".pruning.lock"] == []
    for artifact in store.artifacts():
        assert store.damaged(artifact) == []


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_an_archive_that_was_cut_short_is_refused(size: int, archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    # Behind the last member, a tar file has only zeros.
    archive.write_bytes(content[:size] if size >= 0 else content[: len(content.rstrip(b"\0")) - 10])
    with pytest.raises(ArchiveError):
        import_run(Store(tmp_path / "store").open(), archive, ignore)


def test_a_compressed_file_is_no_archive(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as packed:
        packed.add(archive)
    with pytest.raises(ArchiveError, match="not a whole archive"):
        import_run(Store(tmp_path / "store").open(), tmp_path / "packed.tar", ignore)
    with pytest.raises(ArchiveError, match="no such archive"):
        import_run(Store(tmp_path / "store"), tmp_path / "none.tar", ignore)


def test_an_import_that_is_killed_is_ended_by_the_next(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store").open()
    rename, calls = os.rename, []

    def dying(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", dying)
        import_run(store, archive, ignore)
    import_run(store, archive, ignore)
    assert [step.action for step in plan(store, chain(1))] == ["reuse", "reuse"]


def test_results_that_a_prune_removes_before_the_store_has_their_run_are_taken_again(
    store: Store, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_run, removed = archives._take_run, list[str]()

    def late(*arguments: Any) -> None:
        if not removed:
            removed.extend(each.name for each in prune(store, waiting=ignore).garbage if each.kind == "result")
        take_run(*arguments)

    monkeypatch.setattr(archives, "_take_run", late)
    imported = import_run(store, archive, ignore)
    assert len(removed) == 2
    assert sorted(imported.committed) == sorted(removed) and not imported.present
    assert [step.action for step in plan(store, chain(1))] == ["reuse", "reuse"]
    assert not [each for each in find_garbage(store).garbage if each.kind == "result"]


def test_an_import_waits_for_a_running_attempt_and_takes_its_result(archive: Path, tmp_path: Path) -> None:
    """Its commit would remove the finished work that the attempt goes on from."""
    store, source = Store(tmp_path / "store").open(), chain(1)[0]
    with ExitStack() as attempt:
        attempt.enter_context(store.building(source, ignore))
        (store.state(source) / "shards").mkdir()
        held = []

        def built(holder: str, _seconds: float) -> None:
            held.append((holder, (store.state(source) / "shards").exists()))
            write_and_commit(store, source)
            attempt.close()

        imported = import_run(store, archive, built)
    assert held == [(f"process {os.getpid()} on {socket.gethostname()}", True)]
    assert [name.partition("/")[0] for name in imported.present] == ["source"]
    assert [name.partition("/")[0] for name in imported.committed] == ["filter"]


def write_and_commit(store: Store, stage: Stage) -> None:
    scratch = store.scratch(stage)
    metrics = stage.work(StageContext(stage.id, scratch, store.state(stage), [].append), {})
    store.commit(stage, scratch, metrics=metrics, quarantined=[], seconds=0, provenance={}, shards={})
