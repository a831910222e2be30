"""Deleted experiments are detected in the server that a run would use, and nothing is changed there."""

import json
import sqlite3
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.tracking.experiments import Experiments, experiments, of_file
from tests.kit.servers.serving import serving


@pytest.fixture
def server() -> Iterator[str]:
    """Answers MLflow's search for experiments with two deleted ones."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked = json.loads(self.rfile.read(length))
            names = ("web", "code") if asked["view_type"] == "DELETED_ONLY" else ()
            result = [
                {"experiment_id": str(number), "name": name, "lifecycle_stage": "deleted"}
                for number, name in enumerate(names, 1)
            ]
            body = json.dumps({"experiments": result}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    with serving(listening):
        yield f"127.0.0.1:{listening.server_port}"


def database(file: Path) -> Path:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT, lifecycle_stage TEXT)")
        rows = [("web", "deleted"), ("books", "active"), ("code", "deleted")]
        connection.executemany("INSERT INTO experiments VALUES (?, ?)", rows)
    connection.close()
    return file


def test_deleted_experiments_are_read_from_the_database(tmp_path: Path):
    file = tmp_path / "a#b.db"
    assert of_file(file) == Experiments()
    assert of_file(database(file)) == Experiments(("code", "web"))
    file.write_bytes(b"no database" * 100)
    assert "not a database" in str(of_file(file).damage)


def test_a_database_in_use_or_not_filled_yet_is_not_called_damaged(tmp_path: Path):
    file = tmp_path / "mlflow.db"
    file.touch()
    assert of_file(file) == Experiments()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT, lifecycle_stage TEXT)")
    connection.execute("BEGIN EXCLUSIVE")
    assert of_file(file) == Experiments()
    connection.close()


@pytest.mark.parametrize("name", ["plain", "a b", "p%20x", "q?1"])
def test_the_stores_own_database_is_found_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / name).mkdir()
    database(tmp_path / name / "mlflow.db")
    assert experiments(tmp_path / name) == Experiments(("code", "web"))


def test_another_database_is_looked_at_instead_of_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    database(tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert experiments(tmp_path) == Experiments(location=uri)
    assert not (tmp_path / "other.db").exists(), "nothing is made"
    database(tmp_path / "other.db")
    assert experiments(tmp_path) == Experiments(("code", "web"), uri)


def test_a_server_is_asked_and_its_credentials_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@{server}")
    assert experiments(tmp_path) == Experiments(("code", "web"), f"http://***@{server}")


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = experiments(tmp_path)
    assert (result.location, result.deleted, result.damage) == ("http://127.0.0.1:9", (), None)
    assert "refused" in str(result.silence)
    assert experiments(tmp_path, timeout_s=0.01).silence == "no answer in 0.01 s"
