"""Nodes that die, are drained or join late while a stage works: same digests, and nothing built twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.events import EventLog
from infra.plan import plan
from infra.runner import run_inline
from infra.store import Store
from tests.chaos.chain import STEPS, inline
from tests.end_to_end.clusters.leaving_nodes import stages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]


WARNING_S = 30
"""Time of a node between its warning and its end."""
LONG_TRAINING = 400
"""Steps that last longer than a warning takes to arrive."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Digests of a run in one process."""
    return undisturbed(tmp_path_factory.mktemp("calm"), STEPS)


def undisturbed(folder: Path, steps: int) -> dict[str, dict[str, str]]:
    store = Store(folder).open()
    log = EventLog(store.root / "runs" / "run")
    outcome = run_inline(plan(store, inline(stages(steps))), store, log, lambda event: None)
    log.close()
    assert outcome.ok, outcome.failed
    return {name: artifact.manifest.digests() for name, artifact in outcome.artifacts.items()}


def disturbed(store: Path, stage: str, action: str, steps: int = STEPS) -> dict[str, Any]:
    names = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "tests.end_to_end.clusters.leaving_nodes", str(store), stage, action, str(steps)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800)
    _, mark, text = done.stdout.rpartition("RESULT")
    assert mark, done.stdout + done.stderr
    # Ray may write further lines while it ends.
    result: dict[str, Any] = json.loads(text.splitlines()[0])
    return result


@pytest.mark.parametrize(
    ("stage", "action"),
    [
        *((stage, "kill") for stage in ("source", "dedup", "train", "evaluate")),
        ("source", "join"),
    ],
)
def test_a_node_that_leaves_or_joins_changes_no_result(
    stage: str, action: str, expected: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    result = disturbed(tmp_path / "store", stage, action)
    assert result["failed"] == {}
    assert result["digests"] == expected
    assert result["built"] == dict.fromkeys(expected, 1)


def test_training_leaves_a_drained_node_with_a_checkpoint_of_its_last_step(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "calm", LONG_TRAINING)
    result = disturbed(tmp_path / "store", "train", "drain", LONG_TRAINING)
    assert result["digests"] == expected
    assert result["built"] == dict.fromkeys(expected, 1)
    assert result["resumed"]["reported"] > 0
    assert result["resumed"]["reported"] - result["resumed"]["checkpoint"] <= 1
    assert result["resumed"]["checkpoint"] < LONG_TRAINING
    assert 0 <= result["resumed"]["saved_after_s"] <= WARNING_S
