"""A curve of each headline measure over the tokens of a whole run: within its phases, and over their ends."""

import json
import random
from pathlib import Path

import pytest

import pipelines

CORPUS = """
name = "notes"
description = "Made-up sentences"
[source]
heldout_fraction = 0.1
inputs = [{ kind = "jsonl", paths = ["notes.jsonl"] }]
[filter]
min_words = 1
min_stop_words = 0
max_top_4gram_fraction = 1.0
max_duplicate_line_fraction = 1.0
"""
PHASE = """
[[phases]]
name = "{name}"
tokens = 3072
weights = {{ notes = 1.0 }}
"""
RUN = f"""
name = "curve"
description = "Three phases of 24 steps"
corpora = ["notes.toml"]
[tokenizer]
vocab_size = 300
sample_bytes_per_corpus = 20000
[tokenize]
sequence_length = 32
[mix]
max_epochs = 100.0
{"".join(PHASE.format(name=name) for name in ("one", "two", "three"))}
[model]
preset = "tiny"
[train]
cpus_per_worker = 0.5
global_batch_sequences = 4
micro_batch_sequences = 4
peak_lr = 0.003
checkpoint_every_steps = 8
keep_weights_every_steps = 8
[evaluate]
every_tokens = 1024
heldout_bytes_per_corpus = 2000
"""
MEASURE = "eval/bits_per_byte/notes"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    words = random.Random(0)
    vocabulary = ["".join(words.choices("abcdefghij", k=words.randrange(2, 9))) for _ in range(300)]
    pages = [" ".join(words.choices(vocabulary, k=120)) for _ in range(150)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    (tmp_path / "notes.toml").write_text(CORPUS)
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path / "run.toml"


@pytest.mark.slow
def test_three_phases_are_one_chart_against_tokens(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = pipelines.run(recipe, tmp_path / "store", "local")
    assert result.ok, result.failed | result.skipped
    client = MlflowClient(result.tracking_uri)
    experiment = client.get_experiment_by_name("curve")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`arctic.kind` = 'run'")
    curve = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, MEASURE))
    assert [tokens for tokens, _ in curve] == [1024 * number for number in range(1, 10)]
    measured = {stage: metrics[MEASURE] for stage, metrics in result.metrics.items() if stage.startswith("evaluate[")}
    order = [f"{step // 24}" if step % 24 == 0 else f"{step // 24 + 1}.{step}" for step in range(8, 73, 8)]
    assert [value for _, value in curve] == [measured[f"evaluate[{subject}]"] for subject in order]
    assert curve[-1][1] < curve[0][1]
