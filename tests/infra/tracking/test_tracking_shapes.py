"""Values that MLflow accepts: flat params, legal names, bounded texts."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.tracking.shapes import flatten, legal_name, parent_metric, plan_table, split_table


def test_long_params_are_cut_and_odd_names_made_legal():
    [(name, value)] = flatten({"a(b)": "x" * 7000})
    assert name == "a_b_"
    assert len(value) == 6000
    assert value.endswith("…")
    assert flatten({"list": [1, 2], "empty": {}, "none": None}) == [
        ("list", "[1, 2]"),
        ("empty", "{}"),
        ("none", "null"),
    ]


def test_a_plan_of_any_length_fits_the_note():
    stages = [
        {"id": f"source[corpus_{n}]", "action": "build", "reason": "never | built", "key": "0" * 12} for n in range(500)
    ]
    text = plan_table(stages, {})
    assert len(text) <= 8000
    shown = text.count("source[")
    assert f"{500 - shown} more stages" in text


def test_nested_params_are_named_as_messages_about_recipes_name_them():
    phases = [{"weights": {"web": 0.5}}, {"weights": {"web": 1.0}}]
    assert flatten({"phases": phases}) == [("phases.1.weights.web", "0.5"), ("phases.2.weights.web", "1.0")]


def test_names_that_mlflow_refuses_as_paths_are_made_plain():
    assert legal_name("/a//../b%") == "a/b_"
    assert legal_name("..") == "_"


def test_the_whole_run_groups_corpora_by_stage_and_phases_by_measure():
    assert parent_metric("dedup", "web", "data/clusters") == "dedup/web.clusters"
    assert parent_metric("tokenizer", "", "data/vocab_size") == "tokenizer/vocab_size"
    assert parent_metric("evaluate", "2", "eval/sql_execution_accuracy") == "eval/sql_execution_accuracy"
    # A checkpoint that was evaluated alone is no phase, and is named.
    assert parent_metric("evaluate", "mine", "eval/spider/accuracy.n") == "evaluate/mine.spider/accuracy.n"
    # A phase's last loss is no point of the curve of all steps.
    assert parent_metric("train", "2", "loss") == "train/final_loss"


def test_a_long_table_is_thinned_evenly(tmp_path: Path):
    pq.write_table(pa.table({"number": range(2500), "text": ["é"] * 2500}), tmp_path / "t.parquet")
    shown = json.loads(split_table(tmp_path / "t.parquet"))
    assert shown == {"columns": ["number", "text"], "data": [[number, "é"] for number in range(0, 2500, 3)]}
