"""`arctic show samples`: the answers of a checkpoint, by any of its names."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from infra.artifact import Artifact
from infra.stage import Stage
from infra.store import Store
from pipelines.artifacts.evaluation import SAMPLES, SAMPLES_FILE
from pipelines.artifacts.formats.parquet import write_table
from pipelines.cli import app
from pipelines.errors import OptionError
from pipelines.lineage.samples import samples_of
from tests.kit.stages import idle_stage

TRAIN = idle_stage("train", "3")
PHASE = idle_stage("evaluate", "3", {}, {"train": TRAIN})
ALONE = idle_stage("evaluate", f"train-3-{TRAIN.key}")
CHOICES = [
    {
        "continuation": f" {name}",
        "log_probability": value,
        "is_greedy": False,
        "num_truncated": 0,
        "encoded": "together",
    }
    for name, value in (("wool", -1.25), ("wood", -3.5))
]
WRITTEN = {"text": "SELECT 1", "finish": "stop", "num_truncated": 0}


def row(task: str, item: str, correct: bool, responses: list[dict[str, Any]]) -> dict[str, Any]:
    text = {"prompt": f"Question {item}?", "gold": "wool", "answer": "choice 1: wool", "cluster": "", "shares": "{}"}
    verdict = "correct" if correct else "wrong"
    provided = {"correct": correct, "verdict": verdict, "responses": json.dumps(responses), "contamination": None}
    return {"task": task, "item_id": item, **text, **provided}


def commit(store: Store, stage: Stage, rows: list[dict[str, Any]]) -> None:
    scratch = store.scratch(stage)
    (scratch / SAMPLES_FILE).parent.mkdir()
    write_table(pa.Table.from_pylist(rows, schema=SAMPLES), scratch / SAMPLES_FILE)
    store.commit(stage, scratch, metrics={}, quarantined=[], seconds=1.0, provenance={}, shards={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A checkpoint that was asked `piqa` in its phase and `spider` alone."""
    store = Store(tmp_path / "store").open()
    commit(store, TRAIN, [])
    commit(store, PHASE, [row("piqa", "1", True, CHOICES), row("piqa", "2", False, CHOICES)])
    commit(store, ALONE, [row("spider", "7", False, [WRITTEN])])
    return store


@pytest.fixture
def artifacts(store: Store) -> list[Artifact]:
    return list(store.artifacts())


def test_a_checkpoint_is_known_by_its_folder_its_stage_and_its_key(store: Store, artifacts: list[Artifact]) -> None:
    folder = store.path(TRAIN)
    for name in ("train[3]", TRAIN.key, str(folder), str(folder / "checkpoint")):
        assert [sample.item_id for sample in samples_of(artifacts, name, "piqa")] == ["1", "2"]
        assert [sample.item_id for sample in samples_of(artifacts, name, "spider")] == ["7"]
    for name in ("evaluate[3]", "3", PHASE.key, str(store.path(PHASE))):
        assert [sample.item_id for sample in samples_of(artifacts, name, "piqa", wrong=True)] == ["2"]


def test_answers_are_shown_as_they_came(artifacts: list[Artifact]) -> None:
    first, _ = samples_of(artifacts, "train[3]", "piqa")
    assert first.responses == ("(-1.250 nats) wool", "(-3.500 nats) wood")
    (written,) = samples_of(artifacts, "train[3]", "spider")
    assert written.responses == ("(stop) SELECT 1",)


def test_what_was_not_asked_is_named_with_what_was(artifacts: list[Artifact]) -> None:
    with pytest.raises(OptionError, match=r"copa: train\[3\] was not asked this task\. Name one of "):
        samples_of(artifacts, "train[3]", "copa")
    with pytest.raises(OptionError, match=r"train\[1\]: this store has no evaluation of it\. There are 3, train-3-"):
        samples_of(artifacts, "train[1]", "copa")


def test_the_command_prints_prompt_answers_and_gold(store: Store) -> None:
    shown = CliRunner().invoke(app, ["show", "samples", "train[3]", "piqa", "--wrong", "--store", str(store.root)])
    assert shown.exit_code == 0, shown.output
    lines = [line.strip() for line in shown.stdout.splitlines() if line.strip()]
    assert lines == [
        "== 2: wrong",
        "Question 2?",
        "-- (-1.250 nats) wool",
        "-- (-3.500 nats) wood",
        "-- judged: choice 1: wool",
        "-- gold: wool",
        "items: 1",
    ]
