"""The address of MLflow: a server that the environment names, or a SQLite file inside the store."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.store.locks import locked

LOCK = "mlflow.lock"


def tracking_uri(store_root: Path) -> str:
    """MLFLOW_TRACKING_URI if it is set, else a SQLite file inside the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(_database(store_root))


def is_server(store_root: Path) -> bool:
    """Whether MLflow is a server, which has its own place for files, and not a database that this process opens."""
    return tracking_uri(store_root).startswith(("http:", "https:", "databricks"))


def artifact_root(store_root: Path) -> str | None:
    """Where new experiments keep files: MLFLOW_DEFAULT_ARTIFACT_ROOT if it is set, else a folder inside the store. None
    if a server chooses."""
    if is_server(store_root):
        return None
    named = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "").rstrip("/")
    return named or (store_root.resolve() / "mlartifacts").as_uri()


def make_database(store_root: Path) -> None:
    """Make the store's own file with all tables, if it is used and missing.

    MLflow makes the tables by dozens of migrations. A kill between two of them leaves a file that MLflow can neither
    use nor mend, so they run on another file, which is then renamed.
    """
    if os.environ.get("MLFLOW_TRACKING_URI") or _has_tables(_database(store_root)):
        return
    with locked(store_root / LOCK, lambda _holder, _seconds: None):
        if not _has_tables(_database(store_root)):
            _fill(_database(store_root), artifact_root(store_root) or "")


def _database(store_root: Path) -> Path:
    return store_root.resolve() / "mlflow.db"


def _has_tables(database: Path) -> bool:
    """False for an empty file, which earlier versions left after a kill."""
    with suppress(FileNotFoundError):
        return database.stat().st_size > 0
    return False


def _fill(database: Path, artifacts: str) -> None:
    """The caller holds the lock, so a file of the same name was left by a kill."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = database.with_suffix(".unfinished")
    for left in database.parent.glob(f"{unfinished.name}*"):
        left.unlink()
    # As the umask allows: SQLite makes files that only their owner can change, also in a store that a group shares.
    unfinished.touch(0o666)
    make: Any = SqlAlchemyStore
    make(_sqlite_uri(unfinished), artifacts).engine.dispose()
    unfinished.replace(database)


def _sqlite_uri(file: Path) -> str:
    """SQLAlchemy ends the path at "?" and decodes "%". If these are quoted the driver is named as well, since MLflow
    makes the folder of a plain `sqlite:///` path without decoding it."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{file}" if quoted == str(file) else f"sqlite+pysqlite:///{quoted}"
