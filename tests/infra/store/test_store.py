"""The store: complete or absent, never in between."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store import MANIFEST, Store, StoreError, file_digest
from tests.kit.stages import idle_stage


def stage(**params):
    return idle_stage("filter", "web", params)


def never_waits(holder, seconds):
    raise AssertionError(f"held by {holder}")


def commit(store, made, content=b"payload"):
    scratch = store.scratch(made)
    (scratch / "sub").mkdir()
    (scratch / "sub" / "data.bin").write_bytes(content)
    pq.write_table(pa.table({"x": [1, 2, 3]}), scratch / "rows.parquet")
    return store.commit(
        made, scratch, metrics={"kept": 3.0}, quarantined=[], seconds=1.5, provenance={"code": "c"}, shards={}
    )


def test_a_commit_can_be_found_read_and_verified(store):
    made = stage(min_words=50)
    assert store.find(made) is None
    artifact = commit(store, made)
    result = store.find(made)
    assert result == artifact
    assert result.manifest.params == {"min_words": 50}
    entries = {entry.path: entry for entry in result.manifest.files}
    assert entries["rows.parquet"].rows == 3
    assert entries["sub/data.bin"].rows is None
    assert entries["sub/data.bin"].sha256 == file_digest(result.path / "sub" / "data.bin")
    assert store.damaged(result) == []


def test_damaged_and_missing_files_are_named_and_a_dropped_result_is_built_again(store):
    artifact = commit(store, stage())
    (artifact.path / "sub" / "data.bin").write_bytes(b"paxload")
    (artifact.path / "rows.parquet").unlink()
    damaged = store.damaged(artifact)
    assert damaged == ["rows.parquet", "sub/data.bin"]
    store.drop(artifact, damaged)
    assert store.find(stage()) is None
    assert store.damaged(commit(store, stage())) == []


def test_scratch_without_a_commit_never_happened_and_is_cleared(store):
    made = stage()
    scratch = store.scratch(made)
    (scratch / "half").write_text("half")
    assert store.find(made) is None
    with store.building(made, never_waits) as turn:
        assert turn.committed is None
        assert not scratch.exists()


def test_the_scratch_of_another_stage_stays(store):
    """Another run may be building it now."""
    scratch = store.scratch(stage(min_words=7))
    with store.building(stage(), never_waits):
        assert scratch.exists()


def test_a_result_that_another_committed_is_handed_over_without_its_state(store):
    made = stage()
    artifact = commit(store, made)
    with store.building(made, never_waits) as turn:
        assert turn.committed == artifact
        assert not store.state(made).exists()


def test_two_attempts_of_one_stage_leave_the_first_result(store):
    made = stage()
    second = store.scratch(made)
    (second / "late").write_text("late")
    first = commit(store, made)
    result = store.commit(made, second, metrics={}, quarantined=[], seconds=0, provenance={}, shards={})
    assert result.manifest == first.manifest
    assert not second.exists()


def test_state_survives_attempts_and_goes_with_the_commit(store):
    made = stage()
    store.state(made).mkdir(parents=True)
    (store.state(made) / "shard").write_text("done")
    with store.building(made, never_waits):
        assert (store.state(made) / "shard").exists()
    commit(store, made)
    assert not store.state(made).exists()


def test_an_unreadable_manifest_is_named(store):
    artifact = commit(store, stage())
    (artifact.path / MANIFEST).write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json: unreadable manifest .* Delete the folder"):
        store.find(stage())


@pytest.mark.parametrize("where", ["/proc/store", "/dev/null/store"])
def test_a_place_that_cannot_be_written_is_named(where):
    with pytest.raises(StoreError, match=r"cannot write there \(.*\)\. Choose another folder with --store"):
        Store(Path(where)).open()


FULL_DISK = """
    import sys
    from pathlib import Path
    from infra.context import StageContext
    from infra.events import EventLog
    from infra.plan import plan
    from infra.runner import run_inline
    from infra.stage import Stage
    from infra.store import Store

    def work(context, inputs):
        (context.out / "big").write_bytes(b"x" * 8_000_000)
        return {}

    store = Store(Path(sys.argv[1]) / "store").open()
    planned = plan(store, [Stage("source", "web", 1, {}, {}, work)])
    log = EventLog(Path(sys.argv[1]) / "store" / "runs" / "r")
    print(run_inline(planned, store, log, lambda event: None).failed["source[web]"])
    print(list(store.artifacts()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_in_words_and_commits_nothing(tmp_path):
    script = tmp_path / "full.py"
    script.write_text(textwrap.dedent(FULL_DISK))
    mount = f"mount -t tmpfs -o size=4m none {tmp_path}/disk && {sys.executable} {script} {tmp_path}/disk"
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mounts in this container: {done.stderr.strip()}")
    message, artifacts = done.stdout.splitlines()
    assert "the disk is full" in message
    assert "while building source[web]" in message
    assert "run the same command" in message
    assert artifacts == "[]"


@pytest.mark.parametrize("name", ["circle", "x" * 300, "a\x00b", "circle/below"])
def test_a_path_that_leads_to_no_folder_is_a_mistake_that_is_named(tmp_path, name):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(StoreError, match=r"store .*: leads to no folder \(.*\)\. Name another one with --store\."):
        Store(tmp_path / name)
