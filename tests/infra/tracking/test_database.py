"""The store's MLflow database is there with all its tables, or not at all."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from infra.store.objects import Objects
from infra.tracking import catch_up
from infra.tracking.database import make_database, tracking_uri
from tests.infra.tracking.story import tell_whole_run
from tests.kit.servers.s3_server import BUCKET, CREDENTIALS, running_s3

MAKE = """
import sys
from pathlib import Path
from infra.tracking.database import make_database
make_database(Path(sys.argv[1]))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path / "store").open().root


def names(root: Path) -> list[str]:
    """Of all experiments in the store's database."""
    from mlflow import MlflowClient

    return [each.name for each in MlflowClient(tracking_uri(root)).search_experiments()]


@pytest.mark.parametrize(
    "num_bytes", [100_000, *(pytest.param(other, marks=pytest.mark.slow) for other in (1, 300_000))]
)
def test_a_kill_between_two_migrations_leaves_nothing_that_mlflow_cannot_use(root: Path, num_bytes: int):
    maker = subprocess.Popen([sys.executable, "-c", MAKE, str(root)])
    unfinished = root / "mlflow.unfinished"
    while maker.poll() is None and not (unfinished.exists() and unfinished.stat().st_size >= num_bytes):
        time.sleep(0.001)
    maker.send_signal(signal.SIGKILL)
    assert maker.wait() == -signal.SIGKILL, "it was killed before it ended"
    assert not (root / "mlflow.db").exists()
    make_database(root)
    assert names(root) == ["Default"]
    assert not list(root.glob("mlflow.unfinished*"))


def test_an_empty_file_that_a_kill_has_left_is_filled(root: Path):
    (root / "mlflow.db").touch()
    make_database(root)
    assert names(root) == ["Default"]


def test_a_database_of_the_users_own_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/own.db")
    make_database(root)
    assert not list(root.glob("mlflow.*")) and not (root / "own.db").exists()


def test_files_of_runs_are_kept_where_the_environment_says(
    store: Store, monkeypatch: pytest.MonkeyPatch, mlflow_of: Any
):
    with running_s3() as s3:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{s3.backend}")
        monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", f"s3://{BUCKET}/mlflow")
        tell_whole_run(store)
        catch_up(store.root)
        assert "report.html" in mlflow_of(store).files("tiny-1")
        uploaded = [entry.name for entry in Objects(s3.quiet_address("mlflow")).entries()]
    assert any(name.startswith("tiny/") and name.endswith("/artifacts/report.html") for name in uploaded)
    assert not (store.root / "mlartifacts").exists()
