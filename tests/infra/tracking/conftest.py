"""A store whose runs go to a separate MLflow."""

from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from infra.tracking import catch_up
from tests.infra.tracking.story import (
    tell_whole_run,
    tracked_store,
)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory, mlflow_of: Any) -> bytes:
    """A fresh MLflow database, made once: building its tables takes seconds."""
    root = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow_of(Store(root)).client.search_experiments()
    return (root / "mlflow.db").read_bytes()


@pytest.fixture
def store(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tracked_store(tmp_path / "store", empty_database)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes, mlflow_of: Any) -> Any:
    """MLflow after one whole run was sent in one go."""
    store = tracked_store(tmp_path_factory.mktemp("undisturbed"), empty_database)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tell_whole_run(store)
        catch_up(store.root)
        return mlflow_of(store)


@pytest.fixture(scope="module")
def undisturbed(seen: Any) -> str:
    return seen.everything()
