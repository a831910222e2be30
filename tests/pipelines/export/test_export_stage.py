"""The stage: keyed by checkpoint, format and dtype; exports of other phases leave it alone; a whole run in small."""

import json
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.recipes import Recipe

CORPUS = {
    "name": "sql",
    "description": "Generated questions",
    "source": {
        "inputs": [
            {"kind": "text_to_sql", "num_schemas": 60, "num_heldout_schemas": 4, "pairs_per_schema": 3, "seed": 3}
        ]
    },
    "filter": {"min_words": 5, "min_stop_words": 0, "min_alpha_words_fraction": 0.0, "max_top_4gram_fraction": 1.0},
}
RUN = {
    "name": "small",
    "description": "A model of a few thousand parameters",
    "tokenizer": {"vocab_size": 384, "sample_bytes_per_corpus": 20_000},
    "tokenize": {"sequence_length": 64},
    "phases": [
        {"name": "one", "tokens": 1024, "weights": {"sql": 1.0}},
        {"name": "two", "tokens": 1024, "weights": {"sql": 1.0}},
    ],
    "model": {"preset": "tiny"},
    "train": {"global_batch_sequences": 8, "micro_batch_sequences": 8, "peak_lr": 0.003},
    "evaluate": {"heldout_bytes_per_corpus": 2_000},
}


def recipe(folder: Path, *exports: dict[str, Any]) -> Recipe:
    return Recipe.of({**RUN, "export": list(exports)}, CORPUS, folder=folder)


def keys(folder: Path, *exports: dict[str, Any]) -> dict[str, str]:
    plan = pipelines.plan(recipe(folder, *exports), folder / "no_store")
    return {planned.stage.id: planned.stage.key for planned in plan.stages}


CHAT = {"kind": "text_to_sql_chat", "num_schemas": 8, "pairs_per_schema": 2, "seed": 3}
HF = {"name": "hf", "to": "huggingface"}


def test_an_export_reads_the_last_phase_unless_it_names_another(tmp_path: Path) -> None:
    plan = pipelines.plan(recipe(tmp_path, HF, HF | {"name": "early", "checkpoint": "train[1]"}), tmp_path / "no_store")
    stages = plan.graph.stages
    assert stages["export[hf]"].inputs["train"] is stages["train[2]"]
    assert stages["export[hf]"].inputs["evaluate"] is stages["evaluate[2]"]
    assert {name for name in stages["export[early]"].inputs if name.startswith("mix")} == {"mix:1"}
    assert stages["report"].inputs["export[hf]"] is stages["export[hf]"]


def test_an_export_of_a_fine_tune_has_the_data_and_the_base_of_all_that_it_goes_back_to(tmp_path: Path) -> None:
    tune = {"from": "one", "name": "tuned", "epochs": {"chat": 1.0}, "peak_lr": 0.001}
    tunes = [tune, {**tune, "from": "tuned", "name": "again"}, {**tune, "name": "other", "epochs": {"more": 1.0}}]
    chats = [{**CORPUS, "name": name, "source": {"inputs": [CHAT]}} for name in ("chat", "more")]
    exported = HF | {"checkpoint": "finetune[again]"}

    stages = Recipe.of({**RUN, "finetune": tunes, "export": [exported]}, CORPUS, *chats, folder=tmp_path).graph().stages

    read = {name: stage.id for name, stage in stages["export[hf]"].inputs.items()}
    assert read["train"] == "finetune[again]"
    assert (read["evaluate"], read["base"]) == ("evaluate[again]", "evaluate[1]")
    mixes = [read[name] for name in sorted(read) if name.startswith("mix:")]
    assert mixes == ["mix[1]", "mix[tuned]", "mix[again]"]
    assert {name for name in read if name.startswith("tokens:")} == {"tokens:sql", "tokens:chat"}


def test_the_default_dtype_and_its_name_are_one_key_and_another_dtype_is_another(tmp_path: Path) -> None:
    default = keys(tmp_path, HF)["export[hf]"]
    assert keys(tmp_path, HF | {"dtype": "float32"})["export[hf]"] == default
    assert keys(tmp_path, HF | {"dtype": "bfloat16"})["export[hf]"] != default


def test_an_export_changes_no_other_stage_but_the_report(tmp_path: Path) -> None:
    without, with_ = keys(tmp_path), keys(tmp_path, HF)
    assert {name for name in without if without[name] != with_[name]} == {"report"}


@pytest.mark.slow
def test_a_run_ends_in_an_export_that_a_replay_builds_again(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from mlflow import MlflowClient

    from infra.tracking import tracking_uri
    from pipelines.replay import replay

    whole = recipe(tmp_path, HF)
    result = pipelines.run(whole, tmp_path / "store")
    assert result.ok, result.failed
    model = result.stages["export[hf]"].path / "model"
    card = (model / "README.md").read_text()
    evaluated = json.loads((result.stages["evaluate[2]"].path / "scores.json").read_text())
    for name, score in evaluated["scores"].items():
        assert f"| {name} | {score['value']:.3f} |" in card
    assert "| sql | CC0-1.0 " in card
    assert (
        f'href="../../export/{model.parent.name}/model"' in (result.stages["report"].path / "report.html").read_text()
    )

    client = MlflowClient(tracking_uri(tmp_path / "store"))
    [experiment] = [each for each in client.search_experiments() if each.name == "small"]
    [logged] = [
        each for each in client.search_logged_models([experiment.experiment_id]) if each.name.endswith("-export-hf")
    ]
    figures = {metric.key: metric.value for metric in logged.metrics}
    assert figures["export/argmax_share"] == 1.0
    assert figures["eval/bits_per_byte/sql"] == pytest.approx(evaluated["scores"]["bits_per_byte/sql"]["value"])

    [again] = [each for each in replay(whole, tmp_path / "store") if each.stage == "export[hf]"]
    assert again.is_same, again.verdict
    assert "identical" in again.verdict
