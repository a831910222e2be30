"""A training that loses a node and gets another takes the same steps as an undisturbed one, each once."""

import json
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from pipelines.artifacts.checkpoint import HISTORY_FILE
from tests.chaos.chain import chain, inline
from tests.end_to_end.clusters.elastic_training import PEAK_LR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]
STEPS = 700


def undisturbed(folder: Path) -> Path:
    store = Store(folder).open()
    log = EventLog(store.root / "runs" / "run")
    stages = inline(chain(STEPS, checkpoint_every_steps=400, peak_lr=PEAK_LR))
    outcome = run_inline(plan(store, stages), store, log, lambda event: None)
    log.close()
    assert outcome.ok, outcome.failed
    return outcome.artifacts["train[1]"].path


def test_fewer_workers_after_a_loss_and_more_when_a_node_joins(tmp_path: Path) -> None:
    names = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "tests.end_to_end.clusters.elastic_training", str(tmp_path / "store"), str(STEPS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800)
    _, mark, text = done.stdout.rpartition("RESULT")
    assert mark, done.stdout + done.stderr
    result = json.loads(text.splitlines()[0])
    assert result["failed"] == {}
    rows, calm = (
        pq.read_table(folder / HISTORY_FILE).to_pylist()
        for folder in (Path(result["path"]), undisturbed(tmp_path / "calm"))
    )
    assert [row["step"] for row in rows] == [row["step"] for row in calm] == list(range(1, STEPS + 1))
    assert [row["tokens_by_corpus"] for row in rows] == [row["tokens_by_corpus"] for row in calm]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in calm], rel=1e-2)
    assert [row["loss"] for row in rows[:50]] == pytest.approx([row["loss"] for row in calm[:50]], rel=1e-5)
    assert len(result["workers"]) == STEPS
    assert [count for count, _ in groupby(result["workers"])] == [2, 1, 2]
    shown = [warning for warning in result["warnings"] if "workers" in warning]
    assert shown[0].startswith("trains with 1 of train.num_workers = [1, 2] workers")
    assert shown[1] == "there is room again: training goes on with 2 instead of 1 workers"
    hours = result["metrics"]
    assert hours["lost_worker_hours"] < hours["worker_hours"] < 2 * result["elapsed_s"] / 3600
