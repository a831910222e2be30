"""MLflow gets every event once, even if the driver, MLflow or a stage's attempt dies on the way."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.events import EVENTS
from infra.store import Store
from infra.tracking import catch_up, reconcile
from infra.tracking.cursor import CURSOR
from infra.tracking.experiments import experiments
from infra.tracking.follower import Follower
from tests.infra.tracking.story import (
    CHAIN,
    SOURCE,
    START,
    TRAIN,
    Story,
    plain_stage,
    tell_whole_run,
)


def test_sending_everything_again_changes_nothing(store: Store, undisturbed: str, mlflow_of: Any):
    tell_whole_run(store)
    catch_up(store.root)
    (store.root / "runs" / "tiny-1" / CURSOR).unlink()
    catch_up(store.root)
    assert mlflow_of(store).everything() == undisturbed


@pytest.mark.parametrize("call", [1, 12, 25, 38])
def test_losing_mlflow_at_any_write_and_going_on_gives_the_same(
    store: Store, undisturbed: str, call: int, monkeypatch: pytest.MonkeyPatch, mlflow_of: Any
):
    """The connection breaks before the n-th write if n is odd, after it if n is even."""
    import infra.tracking.projection as projection

    count = 0

    class Breaking(projection.MlflowClient):
        def __getattribute__(self, name: str) -> Any:
            method = super().__getattribute__(name)
            return _break(method) if name.startswith(("create", "log_", "set_", "finalize")) else method

    def _break(method: Any) -> Any:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            mine = count
            if mine == call and call % 2:
                raise ConnectionError("lost before the write")
            result = method(*args, **kwargs)
            if mine == call:
                raise ConnectionError("lost after the write")
            return result

        return write

    tell_whole_run(store)
    follower = Follower(store.root, "tiny-1", report=print)
    with monkeypatch.context() as patch:
        patch.setattr(projection, "MlflowClient", Breaking)
        assert follower.sync() is False
    assert follower.sync() is True
    assert mlflow_of(store).everything() == undisturbed


def test_a_published_file_that_was_removed_since_is_passed_over(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    story.begin(TRAIN)
    story.publish(TRAIN, "trace-10-13.json.gz").unlink()
    story.measure(TRAIN, [(1, {"train/loss": 4.0})])
    catch_up(store.root)
    assert mlflow_of(store).files("02 train 1") == []
    assert mlflow_of(store).curve("02 train 1", "train/loss") == [(1, 4.0)]


def test_a_failure_keeps_its_traceback_and_closes_its_run(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    story.begin(SOURCE)
    story.tell(event="stage_failed", stage=SOURCE.id, error="ValueError: bad", detail="Traceback ... ValueError: bad")
    story.tell(event="stage_skipped", stage=TRAIN.id, because="source[web] has no result")
    story.end("failed")
    catch_up(store.root)
    seen = mlflow_of(store)
    failed = seen.run("01 source web")
    assert failed.info.status == "FAILED"
    path = Path(seen.client.download_artifacts(failed.info.run_id, "error.txt"))
    assert path.read_text().startswith("Traceback")
    assert seen.run("tiny-1").info.status == "FAILED"
    note = seen.run("tiny-1").data.tags["mlflow.note.content"]
    assert "| 01 | source[web] | build | failed |" in note
    assert "skipped: source[web] has no result" in note


def test_a_new_attempt_is_a_new_run_and_ends_the_one_before(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    story.begin(SOURCE, attempt=1)
    story.begin(SOURCE, attempt=2)
    story.commit(SOURCE, {})
    story.end()
    catch_up(store.root)
    seen = mlflow_of(store)
    assert seen.run("01 source web").info.status == "KILLED"
    assert seen.run("01 source web (attempt 2)").info.status == "FINISHED"


def test_the_next_driver_closes_what_a_killed_one_left(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    story.begin(SOURCE)
    catch_up(store.root)
    assert mlflow_of(store).run("01 source web").info.status == "RUNNING"
    with (store.root / "runs" / "tiny-1" / EVENTS).open("a") as log:
        log.write('{"event": "metrics", "sta')
    assert reconcile(store.root) == [], "its driver may still write"
    story.log.close()
    assert reconcile(store.root) == ["tiny-1"]
    assert reconcile(store.root) == []
    catch_up(store.root)
    seen = mlflow_of(store)
    assert [seen.run(name).info.status for name in ("tiny-1", "01 source web")] == ["KILLED", "KILLED"]
    assert seen.run("tiny-1").info.end_time == (START + 2) * 1000


def test_only_complete_lines_are_sent(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    log = store.root / "runs" / "tiny-1" / EVENTS
    story.begin(TRAIN)
    line = json.dumps({"time": START + 9, "event": "metrics", "stage": TRAIN.id, "points": [[1, {"train/loss": 4.0}]]})
    follower = Follower(store.root, "tiny-1", report=print)
    with log.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert follower.sync()
        assert mlflow_of(store).curve("02 train 1", "train/loss") == []
        file.write(line[20:] + "\n")
        file.flush()
        assert follower.sync()
    assert mlflow_of(store).curve("02 train 1", "train/loss") == [(1, 4.0)]


def test_another_tracking_uri_gets_the_whole_story(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_of: Any
):
    tell_whole_run(store)
    catch_up(store.root)
    before = mlflow_of(store).names()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    catch_up(store.root)
    assert mlflow_of(store).names() == before


def test_an_experiment_that_was_deleted_in_mlflow_comes_back_with_the_next_run(store: Store, mlflow_of: Any):
    tell_whole_run(store)
    catch_up(store.root)
    client, experiment = mlflow_of(store).client, mlflow_of(store).experiment
    client.delete_experiment(experiment)
    assert experiments(store.root).deleted == ("tiny",)
    other = plain_stage("source", "code")
    story = Story(store, "tiny-2", [other])
    story.begin(other)
    story.commit(other, {})
    story.end()
    catch_up(store.root)
    assert experiments(store.root).deleted == ()
    assert mlflow_of(store).experiment == experiment
    assert {"tiny-1", "tiny-2"} < set(mlflow_of(store).names())


def test_a_result_that_was_deleted_since_does_not_hold_up_the_rest(store: Store, mlflow_of: Any):
    tell_whole_run(store)
    shutil.rmtree(store.path(TRAIN))
    catch_up(store.root)
    assert mlflow_of(store).run("02 train 1").info.status == "FINISHED"
    assert mlflow_of(store).run("tiny-1").info.status == "FINISHED"
