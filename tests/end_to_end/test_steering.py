"""A run that is changed in flight, from the recipe to the report: no step before the change is trained again."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact
from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from pipelines import load_recipe
from pipelines.train.data import PhaseBatches
from tests.kit.interruption import interrupted_before

CORPUS = """
name = "{name}"
description = "Made-up sentences"
[source]
heldout_fraction = 0.1
inputs = [{{ kind = "jsonl", paths = ["{name}.jsonl"] }}]
[filter]
min_words = 1
min_stop_words = 0
max_top_4gram_fraction = 1.0
max_duplicate_line_fraction = 1.0
"""
RUN = """
name = "steered"
description = "Two phases of 40 and 48 steps; the second in bfloat16"
corpora = ["notes.toml", "lists.toml"]
[tokenizer]
vocab_size = 300
sample_bytes_per_corpus = 20000
[tokenize]
sequence_length = 32
[mix]
max_epochs = 100.0
[[phases]]
name = "one"
tokens = 5120
weights = { notes = 0.75, lists = 0.25 }
[[phases]]
name = "two"
tokens = 6144
weights = { notes = 0.75, lists = 0.25 }
train = { dtype = "bfloat16" }
[model]
preset = "tiny"
[train]
global_batch_sequences = 4
micro_batch_sequences = 4
peak_lr = 0.003
checkpoint_every_steps = 8
[evaluate]
heldout_bytes_per_corpus = 2000
"""
RATE = """
[[amendments]]
from_step = 56
train.peak_lr = 0.0005
train.weight_decay = 0.0
"""
WEIGHTS = """
[[amendments]]
from_step = 56
weights = { notes = 0.25, lists = 0.75 }
"""
CASES = {
    "rate": (
        *(RATE, {"train[2]", "evaluate[2]", "report"}),
        *({"train": {"peak_lr": 0.0005, "weight_decay": 0.0}}, "peak_lr 0.0005, weight_decay 0.0"),
    ),
    "weights": (
        *(WEIGHTS, {"mix[2]", "train[2]", "evaluate[2]", "report"}),
        *({"train": {}, "weights": {"notes": 0.25, "lists": 0.75}}, "weights lists 0.75 notes 0.25"),
    ),
}
"""An amendment, the stages that are built for it, its record in the key, and its line in the report."""
Built = dict[str, Artifact]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The run recipe; the second phase has checkpoints of the steps 48, 56, 64, 72, 80 and 88."""
    words = random.Random(0)
    vocabulary = ["".join(words.choices("abcdefghij", k=words.randrange(2, 9))) for _ in range(300)]
    for name in ("notes", "lists"):
        pages = [" ".join(words.choices(vocabulary, k=120)) for _ in range(150)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
        (tmp_path / f"{name}.toml").write_text(CORPUS.format(name=name))
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path / "run.toml"


def run(recipe: Path, store: Store, events: list) -> Built:
    planned = plan(store, list(load_recipe(recipe).graph().stages.values()))
    outcome = run_inline(planned, store, EventLog(store.root / "runs" / f"run-{len(events)}"), events.append)
    assert outcome.ok, outcome.failed
    return outcome.artifacts


def reasons(recipe: Path, store: Store) -> dict[str, str]:
    planned = plan(store, list(load_recipe(recipe).graph().stages.values()))
    return {each.stage.id: each.reason for each in planned if each.action == "build"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_amended_in_flight_is_the_run_that_always_was(recipe: Path, tmp_path: Path, case: str) -> None:
    """The run stops in step 68; the amendment of step 56 goes on from that step's checkpoint."""
    amendment, rebuilt, changes, line = CASES[case]
    steered, calm = Store(tmp_path / "steered").open(), Store(tmp_path / "calm").open()
    with interrupted_before(68):
        run(recipe, steered, [])
    with recipe.open("a") as file:
        file.write(amendment)

    why = reasons(recipe, steered)
    assert why.keys() == rebuilt
    assert why["train[2]"].endswith("continues the work before the change")
    read: list[int] = []
    with patch.object(PhaseBatches, "__call__", noting(read)):
        result = run(recipe, steered, events := [])
    assert min(read) == 57
    points = [step for event in events if event["event"] == "metrics" for step, _ in event["points"]]
    assert [step for step in points if step > 40] == list(range(41, 89))

    expected = run(recipe, calm, [])
    assert {id: each.manifest.digests() for id, each in result.items() if id != "report"} == {
        id: each.manifest.digests() for id, each in expected.items() if id != "report"
    }
    assert result["train[2]"].manifest.params["amendments"] == [{"from_step": 56, **changes}]
    assert line in (result["report"].path / "report.html").read_text()
    assert sequences_read(result) == ({"notes": 80, "lists": 112} if case == "weights" else {"notes": 144, "lists": 48})


def sequences_read(built: Built) -> dict[str, int]:
    """Phase two reads 64 sequences up to the amendment and 128 after it; phase one has read 160."""
    last = pq.read_table(built["train[2]"].path / "history.parquet")["tokens_by_corpus"].to_pylist()[-1]
    return {corpus: tokens // 32 - {"notes": 120, "lists": 40}[corpus] for corpus, tokens in last}


def noting(steps: list[int]) -> Callable:
    read = PhaseBatches.__call__

    def noted(batches: PhaseBatches, step: int) -> list:
        steps.append(step)
        return read(batches, step)

    return noted
