"""MLflow holds the content of the event log, and never at the run's expense."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa
import pytest

from infra.store import Store
from infra.tracking import catch_up
from infra.tracking.cursor import CURSOR
from tests.infra.tracking.story import (
    CHAIN,
    EVALUATE,
    REPORT,
    SAMPLES,
    SOURCE,
    START,
    TRAIN,
    Story,
    plain_stage,
    tell_whole_run,
)


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
    assert not [name for name in parent.data.params if name.startswith("fingerprints")]
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


def test_a_result_that_mlflow_can_load_gives_its_files_to_its_model(store: Store, mlflow_of: Any) -> None:
    export = replace(plain_stage("export", "hf", {}, mix=SOURCE), model_output="model")
    story = Story(store, "tiny-1", [SOURCE, export])
    story.begin(SOURCE)
    story.commit(SOURCE, {})
    story.begin(export)
    files = {"MLmodel": "{}", "model/config.json": "{}", "components/tokenizer/tokenizer.json": "{}"}
    story.commit(export, {}, files)
    story.end()
    catch_up(store.root)

    [model] = mlflow_of(store).models()

    assert str(model.status) == "READY"
    folder = Path(url2pathname(urlsplit(model.artifact_location).path))
    for name in files:
        # A link: it takes no room.
        assert (folder / name).samefile(store.path(export) / name)


def test_scores_have_the_step_that_their_stage_names(store: Store, mlflow_of: Any):
    """Of a phase, on its run and the whole run; of a checkpoint alone also on the run and the model that it is of."""
    tell_whole_run(store)
    phase = replace(plain_stage("evaluate", "2", {}, train=TRAIN), model_input="train", step_metric="eval/tokens")
    story = Story(store, "tiny-2", [SOURCE, TRAIN, phase])
    story.reuse(SOURCE)
    story.reuse(TRAIN)
    story.begin(phase)
    story.commit(phase, {"eval/piqa/acc": 0.5, "eval/tokens": 7168.0})
    story.end()
    alone = replace(plain_stage("evaluate", "train-1"), model_key=TRAIN.key, step_metric="eval/tokens")
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
    # `load_table` searches there, regardless of its client's address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", seen.uri)
    run_id = seen.run("03 evaluate 1").info.run_id
    shown = seen.client.load_table(seen.experiment, "tables/samples.json", [run_id])
    assert shown.to_dict("list") == SAMPLES


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
    page = plain_stage("page", "", {}, report=REPORT)
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
        train = replace(plain_stage("train", "1", {"seed": number}, mix=SOURCE), model_output="checkpoint")
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
