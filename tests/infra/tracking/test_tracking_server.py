"""Tracking in a run's background, with a server that is down, and `arctic ui`."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from infra.doctor.machine import listening_sockets
from infra.events import EventLog
from infra.store import Store
from infra.tracking import Tracker, TrackingError, catch_up, serve, tracking_uri
from infra.tracking.tracker import CURSOR

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path).open().root


def begin_run(root: Path) -> EventLog:
    log = EventLog(root / "runs" / "tiny-1")
    log.append(
        {"event": "run_started", "run_id": "tiny-1", "name": "tiny", "recipe": {}, "stages": [], "provenance": {}}
    )
    return log


def end_run(log: EventLog) -> None:
    log.append({"event": "run_finished", "status": "finished", "seconds": 1.0})
    log.close()


def status_in_mlflow(root: Path) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri(root))
    [run] = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    return str(run.info.status)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_events_are_sent_while_the_run_goes_on_and_the_rest_at_its_end(root: Path):
    log = begin_run(root)
    tracker = Tracker(root, "tiny-1")
    tracker.start()
    deadline = time.monotonic() + 60
    while not (root / "runs" / "tiny-1" / CURSOR).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status_in_mlflow(root) == "RUNNING"
    end_run(log)
    tracker.stop()
    assert status_in_mlflow(root) == "FINISHED"


def test_a_server_that_is_down_costs_one_warning_and_no_event(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    end_run(begin_run(root))
    tracker = Tracker(root, "tiny-1")
    with caplog.at_level(logging.WARNING, "infra.tracking"):
        assert tracker.sync() is False
        assert tracker.sync() is False
    [warning] = [record.getMessage() for record in caplog.records if record.name.startswith("infra.tracking")]
    assert warning.startswith(f"MLflow at {address}: ")
    assert "The run goes on" in warning
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    catch_up(root)
    assert status_in_mlflow(root) == "FINISHED"


def test_a_port_that_is_taken_is_named(root: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=rf"port {port}: .*--port"):
            serve(root, port)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_server_is_on_loopback_only_and_leaves_nothing_behind(root: Path, sent: signal.Signals):
    begin_run(root).close()
    port = free_port()
    code = (
        "import sys; from pathlib import Path; from infra.tracking import serve;"
        "serve(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"MLflow: http://127.0.0.1:{port}/#/experiments/1/runs")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/version") as answer:
        assert answer.status == 200
    addresses = {one.address for one in listening_sockets(Path("/proc"), os.getuid()) if one.port == port}
    assert addresses == {"127.0.0.1"}
    assert status_in_mlflow(root) == "KILLED", "nobody holds the store, so the run was left by a killed driver"
    process.send_signal(sent)
    output, _ = process.communicate(timeout=60)
    assert "stopping MLflow" in output
    assert process.returncode == 0
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    assert not [one for one in listening_sockets(Path("/proc"), os.getuid()) if one.port == port]
