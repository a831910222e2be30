"""When a collective fails, heartbeats identify the worker that the others waited for."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipelines.train.workers import heartbeat
from pipelines.train.workers.heartbeat import Heartbeat

ROOT = Path(__file__).parents[4]
WORKER = Path(__file__).with_name("stopping_worker.py")


@pytest.fixture(autouse=True)
def fast() -> Iterator[None]:
    with patch.object(heartbeat, "BEAT_S", 0.02):
        yield


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Heartbeat]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Heartbeat(tmp_path, rank, 3)) for rank in range(3)]


def test_a_worker_that_stopped_is_silent(workers: list[Heartbeat]) -> None:
    for worker in workers:
        worker.turn("in step 7")
    workers[1]._write()
    workers[1]._stop.set()
    workers[1]._thread.join()
    assert workers[0].missing() == f"rank 1 (process {os.getpid()} on {os.uname().nodename}, in step 7) is silent"


def test_a_worker_that_lives_and_does_not_come_is_behind(workers: list[Heartbeat]) -> None:
    for worker in workers:
        worker.turn("reading for step 8")
    for worker in workers[:2]:
        worker.turn("in step 7")
    result = workers[0].missing()
    assert "rank 2" in result
    assert result.endswith("reading for step 8) is behind")


def test_a_worker_that_ended_is_named_where_nobody_else_is_to_blame(workers: list[Heartbeat]) -> None:
    workers[2].__exit__(None, None, None)
    result = workers[0].missing()
    assert "rank 2" in result
    assert result.endswith("ended")


def test_a_worker_that_never_began_is_named(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, 0, 2) as worker:
        assert worker.missing() == "rank 1 never began"


@pytest.mark.slow
def test_the_others_stop_and_name_a_worker_that_hangs(tmp_path: Path) -> None:
    """Rank 1 stops (SIGSTOP) in step 3: rank 0 does not wait for ever, and names the worker that it waited for."""
    command = [sys.executable, str(WORKER), str(tmp_path)]
    options: dict[str, Any] = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stderr": subprocess.PIPE, "text": True}
    waiting, hanging = (subprocess.Popen([*command, str(rank)], **options) for rank in (0, 1))
    try:
        _, said = waiting.communicate(timeout=120)
    finally:
        hanging.send_signal(signal.SIGKILL)
        hanging.communicate()
    assert waiting.returncode == 1
    last = said.strip().splitlines()[-1]
    assert f"WorkerLostError: rank 1 (process {hanging.pid} on" in last
    assert "is silent. Worker 0 waited for up to train.collective_timeout_s = 3" in last
