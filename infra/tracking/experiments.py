"""The experiments that were deleted in MLflow, in the tracking server that a run would use. Nothing is written
there."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from infra.host.masking import masked
from infra.tracking.cursor import MLFLOW_ENVIRONMENT
from infra.tracking.database import tracking_uri

ANSWER_TIMEOUT_S = 30.0
QUESTION = """
import json
from mlflow import MlflowClient
from mlflow.entities import ViewType
try:
    names = [found.name for found in MlflowClient().search_experiments(ViewType.DELETED_ONLY)]
    answer = {"deleted": sorted(names)}
except Exception as error:
    while cause := error.__cause__ or error.__context__:
        error = cause
    answer = {"silence": str(error)}
print("ANSWER" + json.dumps(answer))
"""


@dataclass(frozen=True)
class Experiments:
    """`deleted` are names. `location` is the value of MLFLOW_TRACKING_URI, without credentials; "" if it is the store's
    own file. `damage`: how the database file is damaged; `silence`: why a server did not answer."""

    deleted: tuple[str, ...] = ()
    location: str = ""
    damage: str | None = None
    silence: str | None = None


def experiments(store_root: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> Experiments:
    """Query the server of MLFLOW_TRACKING_URI, else the store's database."""
    uri = tracking_uri(store_root)
    location = masked(uri) if os.environ.get("MLFLOW_TRACKING_URI") else ""
    file = _database_file(uri)
    return _of_server(location, timeout_s) if file is None else of_file(file, location)


def of_file(file: Path, location: str = "") -> Experiments:
    """Those of a SQLite file. A database that a run has locked, or has not filled yet, is not damaged: it must stay in
    its folder."""
    if not file.is_file():
        return Experiments(location=location)
    query = "SELECT name FROM experiments WHERE lifecycle_stage = 'deleted' ORDER BY name"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return Experiments(tuple(name for (name,) in connection.execute(query)), location)
    except sqlite3.Error as error:
        is_damaged = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return Experiments(location=location, damage=f"{file}: {error}" if is_damaged else None)


def _of_server(location: str, timeout_s: float) -> Experiments:
    """Query MLflow's own client, in a separate process: it takes seconds to import and may wait for long."""
    command = [sys.executable, "-c", QUESTION]
    environment = {**MLFLOW_ENVIRONMENT, **os.environ}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired:
        return Experiments(location=location, silence=f"no answer in {timeout_s:g} s")
    _, answered, text = done.stdout.rpartition("ANSWER")
    answer = json.loads(text) if answered else {"silence": done.stderr.strip()[-300:]}
    silence = masked(answer["silence"]) if "silence" in answer else None
    return Experiments(tuple(answer.get("deleted", ())), location, silence=silence)


def _database_file(uri: str) -> Path | None:
    """The file of a SQLite URI; None for every other. SQLAlchemy ends the path at "?" and decodes "%"."""
    scheme, _, path = uri.partition(":///")
    return Path(unquote(path.partition("?")[0])) if scheme.partition("+")[0] == "sqlite" else None
