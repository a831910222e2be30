"""Two users of one store: a group that shares its folder, and a stranger whose error names the owner."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ANN, BOB, GROUP = 61_001, 61_002, 61_100
PROGRAM = """
    import sys
    from pathlib import Path
    from infra.events import EventLog
    from infra.fanout import ShardResult, map_shards
    from infra.plan import plan
    from infra.runner import run_inline
    from infra.stage import Stage
    from infra.store import Store, StoreError
    from infra.tracking import catch_up, reconcile

    root, run_id, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def shard(number, folder):
        if number > int(last):
            raise ValueError("stopped")
        (folder / f"{number}.txt").write_text("row")
        return ShardResult({})

    def work(context, inputs):
        map_shards(context, shard, [1, 2])
        return {"rows": 2}

    source = Stage("source", "web", 1, {}, {}, work)
    score = Stage("score", "web", 1, {}, {"source": source}, lambda context, inputs: {"rows": 2})
    try:
        store = Store(root).open()
        with store.writing():
            reconcile(root)
            log = EventLog(root / "runs" / run_id)
            planned = plan(store, [source, score])
            named = [
                {name: getattr(step.stage, name) for name in ("id", "name", "subject", "key")}
                | {"action": step.action, "reason": step.reason, "inputs": {}}
                for step in planned
            ]
            log.append({"event": "run_started", "run_id": run_id, "name": "web", "recipe": {}, "stages": named,
                        "provenance": {"git": None}})
            outcome = run_inline(planned, store, log, lambda event: None)
            log.append({"event": "run_finished", "status": "finished", "seconds": 1})
            catch_up(root)
        print("failed", outcome.failed, "built", [step.stage.name for step in planned if not step.artifact])
    except StoreError as error:
        print("StoreError", error)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user reaches; pytest's own are closed to others."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("acting as other users needs root and setpriv")
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    (made / "program.py").write_text(textwrap.dedent(PROGRAM))
    yield made
    shutil.rmtree(made)


def run_as(user: int, folder: Path, run_id: str, last_shard: int = 2) -> str:
    """A run of `user`, who has no other group than GROUP, with the usual umask. Returns its output."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder / f"home-{user}")}
    (folder / f"home-{user}").mkdir(exist_ok=True)
    os.chown(folder / f"home-{user}", user, GROUP)
    remaining = {
        name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "USER", "LOGNAME")
    }
    # The interpreter may lie in root's home: reading is allowed everywhere, writing only to the user.
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    user_of = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups", *reading]
    command = [*user_of, sys.executable, "program.py", str(folder / "store"), run_id, str(last_shard)]
    done = subprocess.run(command, cwd=folder, env=remaining | paths, umask=0o022, capture_output=True, text=True)
    if done.stderr.startswith("setpriv:"):
        pytest.skip(f"no other users in this container: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_a_group_shares_its_store(folder: Path):
    """Bob goes on with the shards and the MLflow database of Ann's failed run, and Ann with his."""
    (folder / "store").mkdir()
    os.chown(folder / "store", ANN, GROUP)
    (folder / "store").chmod(0o2775)
    assert "stopped" in run_as(ANN, folder, "one", last_shard=1)
    (first,) = (folder / "store").glob("stages/source/*.state/shards/000000")
    shard_file = (first / "1.txt").stat()
    assert run_as(BOB, folder, "two") == "failed {} built ['source', 'score']"
    (committed,) = (folder / "store").glob("stages/source/web-*/1.txt")
    assert committed.stat().st_mtime_ns == shard_file.st_mtime_ns, "her shard is not done again"
    assert run_as(ANN, folder, "three") == "failed {} built []"
    owners = {path.stat().st_uid for path in (folder / "store").rglob("*")}
    assert owners == {ANN, BOB}


def test_a_store_of_another_user_is_refused_by_the_owners_name_and_with_the_mend(folder: Path):
    (folder / "store").mkdir()
    os.chown(folder / "store", ANN, GROUP)
    assert run_as(ANN, folder, "one") == "failed {} built ['source', 'score']"
    (folder / "store").chmod(0o775)
    reported = run_as(BOB, folder, "two")
    assert reported.startswith(f"StoreError store {folder / 'store'}: ")
    assert f"belongs to user {ANN}, and this user cannot write it" in reported
    assert "--store" in reported and "chgrp -R GROUP, chmod -R g+rwX, and chmod g+s" in reported
