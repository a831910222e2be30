"""A model of one's own text at the defaults: it learns, its experts share the work, and each step is reported."""

import json
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from pipelines import load_recipe

CORPUS = """
name = "code"
description = "Modules of the standard library"
[source]
inputs = [{ kind = "jsonl", paths = ["code.jsonl"] }]
heldout_fraction = 0.05
[filter]
min_mean_word_length = 0.0
min_alpha_words_fraction = 0.0
min_stop_words = 0
"""
RUN = """
name = "own"
description = "60 steps of 2,048 tokens"
corpora = ["code.toml"]
[tokenizer]
vocab_size = 1024
sample_bytes_per_corpus = 500000
[tokenize]
sequence_length = 128
[[phases]]
name = "one"
tokens = 122_880
weights = { code = 1.0 }
[model]
preset = "quickstart"
overrides = { num_experts = 16 }
[train]
global_batch_sequences = 16
micro_batch_sequences = 16
peak_lr = 0.01
warmup_tokens = 16_384
[evaluate]
heldout_bytes_per_corpus = 10_000
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    rows = [json.dumps({"text": file.read_text(encoding="utf-8", errors="replace")}) + "\n" for file in files]
    (tmp_path / "code.jsonl").write_text("".join(rows))
    (tmp_path / "code.toml").write_text(CORPUS)
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path / "run.toml"


@pytest.mark.slow
def test_experts_are_balanced_at_the_defaults(recipe: Path, tmp_path: Path) -> None:
    """An even share is 1. The busiest of the 64 experts takes up to 6 times as much while the rate rises."""
    store, events = Store(tmp_path / "store").open(), []
    planned = plan(store, list(load_recipe(recipe).graph().stages.values()))
    outcome = run_inline(planned, store, EventLog(store.root / "runs" / "run"), events.append)
    assert outcome.ok, outcome.failed
    trained = outcome.artifacts["train[1]"].path
    history = pq.read_table(trained / "history.parquet")
    loss = history["loss"].to_pylist()
    assert sum(loss[-5:]) / 5 < loss[0] - 2.0
    shares = [share * 16 for share in pq.read_table(trained / "expert_load.parquet")["share"].to_pylist()]
    assert min(shares) > 0.1
    assert max(shares) < 3.0
    assert max(history["max_expert_load"].to_pylist()[-10:]) < 3.5
    reported = {step: values for event in events if event["event"] == "metrics" for step, values in event["points"]}
    assert [reported[step]["train/loss"] for step in range(1, 61)] == loss
