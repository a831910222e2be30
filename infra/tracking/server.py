"""`arctic ui`: MLflow's own server on this store, on loopback, until Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from infra.host.masking import masked
from infra.host.ports import port_problem
from infra.store import Store, StoreError
from infra.tracking.cursor import CURSOR, MLFLOW_ENVIRONMENT, TrackingError, catch_up, reconcile
from infra.tracking.database import artifact_root, is_server, make_database, tracking_uri

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 10.0


def serve(store_root: Path, port: int) -> None:
    """Fill MLflow in from the event logs, then serve it until Ctrl-C and print the link to the latest runs.

    If MLFLOW_TRACKING_URI names a server, only the link is printed. Raises TrackingError.
    """
    uri = tracking_uri(store_root)
    is_remote = is_server(store_root)
    if not is_remote and (problem := port_problem(HOST, port)):
        raise TrackingError(f"port {port}: {problem}. Choose another with --port.")
    _fill_in(store_root)
    make_database(store_root)
    if is_remote:
        print(f"MLflow: {masked(_link(uri, store_root))}")
        return
    # A terminated `arctic ui` stops its server as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log = store_root / "mlflow-server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(uri, store_root, port),
            env={**MLFLOW_ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_up(server, port, log)
        print(f"MLflow: {_link(f'http://{HOST}:{port}', store_root)}   (Ctrl-C stops it)", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("stopping MLflow", flush=True)
    finally:
        _stop(server)


def _fill_in(store_root: Path) -> None:
    """Bring MLflow up to date."""
    try:
        Store(store_root).open()
        reconcile(store_root)
        catch_up(store_root)
    except (StoreError, TrackingError) as error:
        print(f"MLflow may lack the latest: {error}")


def _command(uri: str, store_root: Path, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--no-serve-artifacts"]
    return [*command, "--default-artifact-root", str(artifact_root(store_root))]


def _wait_until_up(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(f"MLflow's server ended with code {server.returncode} while starting; see {log}.")
        # A server that accepts and is silent is not up either.
        with suppress(OSError, HTTPException):
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=PROBE_TIMEOUT_S).close()
            return
        time.sleep(0.2)
    raise TrackingError(f"MLflow's server did not answer within {START_TIMEOUT_S:.0f} s; see {log}.")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server's whole process group: its web worker outlives the command that started it."""
    for sent, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, sent)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            server.poll()
            try:
                os.killpg(server.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def _link(base: str, store_root: Path) -> str:
    """The runs of the experiment that was written last, in MLflow's model training view."""
    cursors = sorted(store_root.glob(f"runs/*/{CURSOR}"), key=lambda path: path.stat().st_mtime)
    if not cursors:
        return base
    experiment = json.loads(cursors[-1].read_text(encoding="utf-8"))["experiment_id"]
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning"
