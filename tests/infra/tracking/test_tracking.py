"""MLflow holds what the event log tells: once, whatever dies, and never at the run's expense."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.events import EVENTS, EventLog
from infra.stage import Stage
from infra.store import Store
from infra.tracking import Tracker, catch_up, reconcile
from infra.tracking.experiments import experiments
from infra.tracking.tracker import CURSOR
from tests.kit.stages import idle_stage

START = 1_800_000_000.0
SAMPLES = {"prompt": ["1 + 1?", "why?"], "answer": ["two", "because"], "right": [True, False]}


class Story:
    """Writes the log of one run as the driver does, and commits the results that it tells of."""

    def __init__(self, store: Store, run_id: str, stages: list[Stage], at: float = START, register: str = "") -> None:
        self.store = store
        self.log = EventLog(store.root / "runs" / run_id)
        self.now = at
        recipe = {"run": {"name": "tiny", "phases": [{"tokens": 10}, {"tokens": 20}]}, "pins": {"web": {"a": "b" * 64}}}
        provenance = {"git": {"commit": "c" * 40, "dirty": False}}
        planned = [_planned(store, stage) for stage in stages]
        identity = {"run_id": run_id, "name": "tiny", **({"register": register} if register else {})}
        self.tell(event="run_started", **identity, recipe=recipe, stages=planned, provenance=provenance)

    def tell(self, **event: Any) -> None:
        self.now += 1.0
        self.log.append({"time": self.now, **event})

    def begin(self, stage: Stage, attempt: int = 1) -> None:
        self.tell(event="stage_started", **_identity(stage), attempt=attempt, params=dict(stage.params))

    def measure(self, stage: Stage, points: list[tuple[int, dict[str, float]]]) -> None:
        self.tell(event="metrics", stage=stage.id, points=[[step, values] for step, values in points])

    def publish(self, stage: Stage, name: str) -> Path:
        file = self.store.path(stage).with_suffix(".traces") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        self.tell(event="file", stage=stage.id, path=str(file))
        return file

    def commit(self, stage: Stage, metrics: dict[str, float], files: dict[str, str | pa.Table] | None = None) -> None:
        scratch = self.store.scratch(stage)
        for name, content in (files or {"data.txt": "x"}).items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                (scratch / name).write_text(content)
            else:
                pq.write_table(content, scratch / name)
        made = self.store.commit(stage, scratch, metrics=metrics, quarantined=[], seconds=2.0, provenance={}, shards={})
        self.tell(event="stage_finished", **_identity(stage), seconds=2.0, path=str(made.path))

    def reuse(self, stage: Stage) -> None:
        self.tell(event="stage_reused", **_identity(stage), path=str(self.store.path(stage)))

    def end(self, status: str = "finished") -> None:
        self.tell(event="run_finished", status=status, seconds=self.now - START)
        self.log.close()


def _planned(store: Store, stage: Stage) -> dict[str, Any]:
    action, reason = ("reuse", "committed") if store.find(stage) else ("build", "never built in this store")
    inputs = {name: upstream.key for name, upstream in stage.inputs.items()}
    named = {"id": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}
    fields = ("model_output", "model_input", "model_key", "step_metric")
    model = {name: getattr(stage, name) for name in fields}
    return {**named, "action": action, "reason": reason, "inputs": inputs, **model}


def _identity(stage: Stage) -> dict[str, str]:
    return {"stage": stage.id, "name": stage.name, "subject": stage.subject, "key": stage.key}


def _stage(name: str, subject: str = "", params: dict[str, Any] | None = None, **inputs: Stage) -> Stage:
    return idle_stage(name, subject, params or {}, inputs)


SOURCE = _stage("source", "web", {"fraction": 0.5, "inputs": [{"kind": "warc"}]})
TRAIN = replace(_stage("train", "1", {"model": {"num_layers": 2}}, mix=SOURCE), model_output="checkpoint")
EVALUATE = replace(_stage("evaluate", "1", {}, train=TRAIN), model_input="train")
REPORT = _stage("report", "", {}, evaluate=EVALUATE)
CHAIN = [SOURCE, TRAIN, EVALUATE, REPORT]


def tell_whole_run(store: Store, run_id: str = "tiny-1") -> Story:
    story = Story(store, run_id, CHAIN)
    story.begin(SOURCE)
    story.tell(event="warning", stage=SOURCE.id, message="one record was cut short")
    story.commit(SOURCE, {"data/documents": 12.0})
    story.begin(TRAIN)
    story.measure(TRAIN, [(1, {"train/loss": 4.0, "learning_rate": 0.1}), (2, {"train/loss": 3.0})])
    story.measure(TRAIN, [(3, {"train/loss": 2.5})])
    story.publish(TRAIN, "trace-10-13.json.gz")
    story.commit(TRAIN, {"parameters": 1000.0, "loss": 2.4}, {"checkpoint/model.json": "{}"})
    story.begin(EVALUATE)
    story.commit(EVALUATE, {"eval/bits_per_byte/web": 1.5}, {"tables/samples.parquet": pa.table(SAMPLES)})
    story.begin(REPORT)
    story.commit(REPORT, {"pages": 1.0}, {"report.html": "<p>", "figures/loss.png": "png"})
    story.end()
    return story


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory, mlflow_of: Any) -> bytes:
    """A fresh MLflow database, made once: building its tables takes seconds."""
    root = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow_of(Store(root)).client.search_experiments()
    return (root / "mlflow.db").read_bytes()


@pytest.fixture
def store(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return _store(tmp_path / "store", empty_database)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes, mlflow_of: Any) -> Any:
    """MLflow after one whole run was sent in one go."""
    store = _store(tmp_path_factory.mktemp("undisturbed"), empty_database)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tell_whole_run(store)
        catch_up(store.root)
        return mlflow_of(store)


@pytest.fixture(scope="module")
def undisturbed(seen: Any) -> str:
    return seen.everything()


def _store(root: Path, database: bytes) -> Store:
    store = Store(root).open()
    (store.root / "mlflow.db").write_bytes(database)
    return store


def test_one_parent_and_one_child_per_attempt_named_in_the_order_of_the_plan(seen: Any):
    assert seen.names() == ["01 source web", "02 train 1", "03 evaluate 1", "04 report", "tiny-1"]
    parent = seen.run("tiny-1")
    for name in seen.names()[:-1]:
        assert seen.run(name).data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert seen.run(name).info.status == "FINISHED"
    assert parent.info.status == "FINISHED"
    first = seen.run("01 source web").info
    assert (first.start_time, first.end_time) == ((START + 2) * 1000, (START + 4) * 1000), "those of the events"
    assert parent.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert parent.data.params["run.phases.2.tokens"] == "20"
    assert not [name for name in parent.data.params if name.startswith("pins")]
    assert "| 02 | train[1] | build | 2 s |" in parent.data.tags["mlflow.note.content"]
    assert seen.run("02 train 1").data.params == {"model.num_layers": "2"}
    assert seen.run("01 source web").data.params == {"fraction": "0.5", "inputs.1.kind": "warc"}
    assert "one record was cut short" in seen.run("01 source web").data.tags.values()


def test_curves_are_on_the_stage_and_joined_on_the_parent(seen: Any):
    for name in ("02 train 1", "tiny-1"):
        assert seen.curve(name, "train/loss") == [(1, 4.0), (2, 3.0), (3, 2.5)]
        assert seen.curve(name, "train/learning_rate") == [(1, 0.1)]
    assert seen.curve("tiny-1", "loss") == [(1, 4.0), (2, 3.0), (3, 2.5)]
    assert seen.curve("tiny-1", "train/final_loss") == [(1, 2.4)]
    assert seen.curve("tiny-1", "eval/bits_per_byte/web") == [(1, 1.5)]


def test_counts_of_data_are_on_the_whole_run_only_if_it_trains_no_model(seen: Any, store: Store, mlflow_of: Any):
    assert seen.curve("01 source web", "data/documents") == [(0, 12.0)]
    assert seen.curve("tiny-1", "source/web.documents") == []
    story = Story(store, "corpus-1", [SOURCE])
    story.begin(SOURCE)
    story.commit(SOURCE, {"data/documents": 12.0})
    story.end()
    catch_up(store.root)
    assert mlflow_of(store).curve("tiny-1", "source/web.documents") == [(0, 12.0)]


def test_more_points_than_one_call_takes_all_arrive(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    story.begin(TRAIN)
    story.measure(TRAIN, [(step, {"train/loss": 1.0 / (step + 1)}) for step in range(2500)])
    catch_up(store.root)
    assert mlflow_of(store).curve("02 train 1", "train/loss") == [(step, 1.0 / (step + 1)) for step in range(2500)]


def test_steps_that_are_sent_again_after_a_kill_are_on_each_curve_once(store: Store, mlflow_of: Any):
    """The first attempt dies in step 4 with a checkpoint of step 2; its worker had started again once before."""
    story = Story(store, "tiny-1", [TRAIN])
    loss = {step: {"train/loss": 5.0 - step} for step in range(1, 6)}
    story.begin(TRAIN, attempt=1)
    story.measure(TRAIN, [(1, loss[1]), (2, loss[2])])
    story.measure(TRAIN, [(1, loss[1]), (2, loss[2]), (3, loss[3])])
    catch_up(store.root)
    story.begin(TRAIN, attempt=2)
    story.measure(TRAIN, [(1, loss[1]), (2, loss[2])])
    story.measure(TRAIN, [(3, loss[3]), (4, loss[4]), (5, loss[5])])
    story.commit(TRAIN, {"parameters": 1000.0}, {"checkpoint/model.json": "{}"})
    story.end()
    catch_up(store.root)
    whole = [(step, 5.0 - step) for step in range(1, 6)]
    seen = mlflow_of(store)
    assert seen.curve("01 train 1", "train/loss") == whole[:3]
    assert seen.curve("01 train 1 (attempt 2)", "train/loss") == whole
    assert seen.curve("tiny-1", "train/loss") == whole


def test_lineage_is_in_the_datasets(seen: Any):
    used = {
        name: {
            (entry.dataset.name, entry.dataset.digest, entry.tags[0].value)
            for entry in seen.run(name).inputs.dataset_inputs
        }
        for name in ("01 source web", "02 train 1")
    }
    assert used["01 source web"] == {("source[web]", SOURCE.key, "output")}
    assert used["02 train 1"] == {("source[web]", SOURCE.key, "input"), ("train[1]", TRAIN.key, "output")}


def test_a_checkpoint_is_a_ready_model_with_its_scores(seen: Any):
    [model] = seen.models()
    assert (model.name, str(model.status)) == ("tiny-1-phase-1", "READY")
    assert model.source_run_id == seen.run("02 train 1").info.run_id
    assert model.params == {"model.num_layers": "2"}
    scores = {metric.key: metric.value for metric in model.metrics}
    assert scores["eval/bits_per_byte/web"] == 1.5
    assert scores["parameters"] == 1000.0
    assert "seconds" not in scores
    assert [made.model_id for made in seen.run("tiny-1").outputs.model_outputs] == [model.model_id]
    [measured] = seen.run("03 evaluate 1").inputs.model_inputs
    assert measured.model_id == model.model_id


def test_scores_have_the_step_that_their_stage_names(store: Store, mlflow_of: Any):
    """Of a phase, on its run and the whole run; of a checkpoint alone also on the run and the model that it is of."""
    tell_whole_run(store)
    phase = replace(_stage("evaluate", "2", {}, train=TRAIN), model_input="train", step_metric="eval/tokens")
    story = Story(store, "tiny-2", [SOURCE, TRAIN, phase])
    story.reuse(SOURCE)
    story.reuse(TRAIN)
    story.begin(phase)
    story.commit(phase, {"eval/piqa/acc": 0.5, "eval/tokens": 7168.0})
    story.end()
    alone = replace(_stage("evaluate", "train-1"), model_key=TRAIN.key, step_metric="eval/tokens")
    later = Story(store, "tiny-3", [alone], at=START + 100)
    later.begin(alone)
    later.commit(alone, {"eval/piqa/acc": 0.75, "eval/tokens": 8192.0})
    later.end()
    catch_up(store.root)
    seen = mlflow_of(store)
    for run in ("03 evaluate 2", "tiny-2"):
        assert seen.curve(run, "eval/piqa/acc") == [(7168, 0.5)]
    for run in ("01 evaluate train-1", "tiny-1"):
        assert seen.curve(run, "eval/piqa/acc") == [(8192, 0.75)]
    [model] = seen.models()
    scores = {(metric.step, metric.value) for metric in model.metrics if metric.key == "eval/piqa/acc"}
    assert scores == {(7168, 0.5), (8192, 0.75)}


def test_the_report_is_on_the_parent_and_the_manifest_on_the_stage(seen: Any):
    assert seen.files("tiny-1") == ["figures", "provenance.json", "recipe.json", "report.html"]
    assert seen.files("tiny-1", "figures") == ["figures/loss.png"]
    assert seen.files("02 train 1") == ["files", "manifest.json"]
    assert seen.files("02 train 1", "files") == ["files/trace-10-13.json.gz"]


def test_a_table_of_a_result_is_a_table_in_mlflow(seen: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", seen.uri)  # `load_table` searches there, whatever its client's is
    run_id = seen.run("03 evaluate 1").info.run_id
    shown = seen.client.load_table(seen.experiment, "tables/samples.json", [run_id])
    assert shown.to_dict("list") == SAMPLES


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
    """The connection breaks before the n-th write where n is odd, after it where n is even."""
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
    tracker = Tracker(store.root, "tiny-1")
    with monkeypatch.context() as patch:
        patch.setattr(projection, "MlflowClient", Breaking)
        assert tracker.sync() is False
    assert tracker.sync() is True
    assert mlflow_of(store).everything() == undisturbed


def test_a_run_that_builds_nothing_has_no_row(store: Store, mlflow_of: Any):
    tell_whole_run(store)
    story = Story(store, "tiny-2", CHAIN, START + 1000)
    for stage in CHAIN:
        story.reuse(stage)
    story.end()
    catch_up(store.root)
    assert mlflow_of(store).names() == ["01 source web", "02 train 1", "03 evaluate 1", "04 report", "tiny-1"]


def test_a_run_that_builds_a_part_shows_the_figures_of_what_it_reuses(store: Store, mlflow_of: Any):
    tell_whole_run(store)
    page = _stage("page", "", {}, report=REPORT)
    story = Story(store, "tiny-2", [*CHAIN, page], START + 1000)
    for stage in CHAIN:
        story.reuse(stage)
    story.begin(page)
    story.commit(page, {})
    story.end()
    catch_up(store.root)
    seen = mlflow_of(store)
    assert seen.curve("tiny-2", "eval/bits_per_byte/web") == [(1, 1.5)]
    assert "report.html" in seen.files("tiny-2")
    assert len(seen.models()) == 1
    assert "| 01 | source[web] | reuse | reused |" in seen.run("tiny-2").data.tags["mlflow.note.content"]


def test_lists_show_the_recipe_and_what_is_drawn_for_each_run(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-20261128-175919-41e1", [SOURCE])
    story.begin(SOURCE)
    story.commit(SOURCE, {})
    story.end()
    catch_up(store.root)
    seen = mlflow_of(store)
    assert seen.names() == ["01 source web", "tiny-41e1"]
    assert seen.run("tiny-41e1").data.tags["arctic.run"] == "tiny-20261128-175919-41e1"


def test_intervals_and_counts_of_items_are_on_the_stage_and_not_on_the_whole_run(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", CHAIN)
    for stage in (SOURCE, TRAIN):
        story.begin(stage)
        story.commit(stage, {}, {"checkpoint/model.json": "{}"} if stage is TRAIN else None)
    story.begin(EVALUATE)
    story.commit(EVALUATE, {"eval/piqa/acc": 0.5, "eval/piqa/acc.ci_low": 0.4, "eval/piqa/acc.n": 100.0})
    story.end()
    catch_up(store.root)
    seen = mlflow_of(store)
    assert seen.curve("03 evaluate 1", "eval/piqa/acc.ci_low") == [(0, 0.4)]
    assert {name for name in seen.run("tiny-1").data.metrics if name.startswith("eval/")} == {"eval/piqa/acc"}


def test_a_dataset_has_the_folder_that_it_lies_in_and_the_columns_of_its_table(store: Store, mlflow_of: Any):
    story = Story(store, "tiny-1", [SOURCE, TRAIN])
    story.begin(SOURCE)
    rows = pa.table({"text": ["a"], "words": pa.array([1], pa.int64()), "tags": [["x"]]})
    story.commit(SOURCE, {}, {"documents/0.parquet": rows})
    story.begin(TRAIN)
    catch_up(store.root)
    [used] = mlflow_of(store).run("02 train 1").inputs.dataset_inputs
    assert (used.dataset.source_type, json.loads(used.dataset.source)) == ("local", {"uri": str(store.path(SOURCE))})
    columns = {column["name"]: column["type"] for column in json.loads(used.dataset.schema)["mlflow_colspec"]}
    assert columns == {"text": "string", "words": "long", "tags": "string"}
    assert json.loads(used.dataset.profile)["num_rows"] == 1


def test_a_run_that_is_asked_to_registers_its_last_model_once_with_an_alias_of_its_own(store: Store, mlflow_of: Any):
    for number in (1, 2):
        train = replace(_stage("train", "1", {"seed": number}, mix=SOURCE), model_output="checkpoint")
        story = Story(store, f"tiny-{number}", [train], at=START + 100 * number, register="code-model")
        story.begin(train)
        story.commit(train, {"loss": 1.0}, {"checkpoint/model.json": "{}"})
        story.end()
    for _ in range(2):
        catch_up(store.root)
        for cursor in store.root.glob(f"runs/*/{CURSOR}"):
            cursor.unlink()
    client = mlflow_of(store).client
    versions = client.search_model_versions("name = 'code-model'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    aliased = {alias: client.get_model_version_by_alias("code-model", alias).version for alias in ("tiny-1", "tiny-2")}
    assert {alias: int(version) for alias, version in aliased.items()} == {"tiny-1": 1, "tiny-2": 2}


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
    tracker = Tracker(store.root, "tiny-1")
    with log.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert tracker.sync()
        assert mlflow_of(store).curve("02 train 1", "train/loss") == []
        file.write(line[20:] + "\n")
        file.flush()
        assert tracker.sync()
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
    other = _stage("source", "code")
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
