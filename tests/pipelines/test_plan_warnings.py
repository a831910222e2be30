"""Warnings of a plan before anything starts."""

from pathlib import Path

import pytest

from infra.store import Store
from pipelines import Recipe
from pipelines.session import plan_graph

RUN = {
    "name": "tiny",
    "description": "",
    "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1000},
    "tokenize": {"sequence_length": 64},
    "phases": [{"name": "first", "tokens": 1024, "weights": {"sql": 1.0}}],
    "model": {"preset": "tiny"},
    "train": {"global_batch_sequences": 4, "micro_batch_sequences": 4, "peak_lr": 0.001},
    "evaluate": {"heldout_bytes_per_corpus": 1000},
}
INPUT = {"kind": "text_to_sql", "num_schemas": 8, "num_heldout_schemas": 2, "pairs_per_schema": 2, "seed": 1}


@pytest.mark.parametrize(("held_out", "warned"), [(4, True), (5, False)])
def test_a_built_corpus_with_too_few_held_out_documents_is_named(held_out: int, warned: bool, tmp_path: Path) -> None:
    graph = Recipe.of(RUN, {"name": "sql", "description": "", "source": {"inputs": [INPUT]}}).graph()
    store, stage = Store(tmp_path).open(), graph.stages["source[sql]"]
    metrics = {"data/heldout_documents": held_out}
    store.commit(
        stage, store.scratch(stage), metrics=metrics, quarantined=[], seconds=1.0, provenance={"code": ""}, shards={}
    )

    warnings = plan_graph(graph, store).warnings

    assert [stage_id for stage_id, _ in warnings] == (["source[sql]"] if warned else [])
    assert all("4 held-out documents are too few" in message for _, message in warnings)
    # Nothing is scored up to there.
    assert not plan_graph(graph, store, until="mix*").warnings
