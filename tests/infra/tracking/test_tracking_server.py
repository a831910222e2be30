"""Tracking in a run's background, with a server that is down, and `arctic ui`."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.doctor.machine import listening_sockets
from infra.events import EventLog
from infra.store import Store
from infra.tracking import Tracker, TrackingError, catch_up, serve, server, tracking_uri
from infra.tracking.cursor import CURSOR

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


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_events_are_sent_while_the_run_goes_on_and_the_rest_at_its_end(root: Path):
    log = begin_run(root)
    tracker = Tracker(root, "tiny-1")
    wait_until((root / "runs" / "tiny-1" / CURSOR).exists)
    assert status_in_mlflow(root) == "RUNNING"
    end_run(log)
    tracker.stop()
    assert status_in_mlflow(root) == "FINISHED"


@pytest.mark.parametrize("is_down", [False, True], ids=["", "its server is down"])
def test_what_a_killed_run_has_told_is_sent_and_no_process_is_left(root: Path, tmp_path: Path, is_down: bool):
    """The folder in which it runs has modules with the names of others."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')")
    end_run(begin_run(root))
    code = (
        "import sys, time; from pathlib import Path; from infra.tracking import Tracker;"
        "print(Tracker(Path(sys.argv[1]), 'tiny-1')._process.pid, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if is_down:
        environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-P", "-c", code, str(root)]
    with (
        (tmp_path / "errors").open("w") as errors,
        subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as run,
    ):
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        run.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())
    assert (tmp_path / "errors").read_text() == ""
    if is_down:
        catch_up(root)
    assert status_in_mlflow(root) == "FINISHED"


def test_a_server_that_is_down_costs_one_warning_and_no_event(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    end_run(begin_run(root))
    with caplog.at_level(logging.WARNING, "infra.tracking"):
        tracker = Tracker(root, "tiny-1")
        wait_until(lambda: bool(caplog.records))
        tracker.stop()
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"MLflow at {address}: ")
    assert "The run goes on" in warning
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    catch_up(root)
    assert status_in_mlflow(root) == "FINISHED"


@pytest.mark.parametrize(("sent", "reason"), [(signal.SIGSTOP, "not done after 0 s"), (signal.SIGSEGV, "code -11")])
def test_a_run_outlives_the_process_that_tracks_it(
    root: Path, caplog: pytest.LogCaptureFixture, sent: signal.Signals, reason: str
):
    end_run(begin_run(root))
    with caplog.at_level(logging.WARNING, "infra.tracking"):
        tracker = Tracker(root, "tiny-1")
        os.kill(tracker._process.pid, sent)
        tracker.stop(timeout_s=0.2 if sent == signal.SIGSTOP else 60)
    [warning] = [record.getMessage() for record in caplog.records]
    assert reason in warning and "The next `arctic run` or `arctic ui` fills it in." in warning
    catch_up(root)
    assert status_in_mlflow(root) == "FINISHED"


def test_a_server_that_accepts_and_is_silent_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    code = f"import socket, time; held = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    monkeypatch.setattr(server, "_command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(server, "START_TIMEOUT_S", 2.0)
    monkeypatch.setattr(server, "PROBE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(TrackingError, match="did not answer within 2 s"):
        serve(root, port)


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
