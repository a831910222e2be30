"""The stored address of a tracking server has no credentials in it."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.events import EVENTS, EventLog
from infra.store import Store
from infra.tracking import catch_up, cursor
from infra.tracking.cursor import CURSOR


@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_place_is_known_again_under_another_password_and_none_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = Store(tmp_path / "store").open()
    log = EventLog(store.root / "runs" / "one")
    begin = {"event": "run_started", "run_id": "one", "name": "tiny", "recipe": {}, "stages": []}
    log.append({**begin, "provenance": {"git": None}})
    log.close()
    remaining = []
    for password in ("s3cret", "changed"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?password={password}")
        catch_up(store.root)
        remaining.append((log.folder / CURSOR).read_text())
    assert remaining[0] == remaining[1], "the run is not sent again"
    assert json.loads(remaining[0])["uri"].endswith("?password=***")
    assert json.loads(remaining[0])["offset"] > 0


@given(st.binary(max_size=60).map(lambda drawn: drawn.replace(b"a", b"\n")), st.integers(1, 9))
def test_the_last_complete_line_is_read_from_the_end(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int
) -> None:
    file = tmp_path_factory.mktemp("log") / EVENTS
    file.write_bytes(content)
    lines = content.split(b"\n")[:-1]
    with patch.object(cursor, "BLOCK_BYTES", block):
        assert cursor._last_line(file) == (lines[-1] + b"\n" if lines else b"")


FILL_IN = "import sys; from pathlib import Path; from infra.tracking import catch_up; catch_up(Path(sys.argv[1]))"


@pytest.mark.slow
def test_two_processes_fill_a_new_database_in_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(tmp_path / "store").open()
    for name in ("one", "two"):
        log = EventLog(store.root / "runs" / name)
        begin = {"event": "run_started", "run_id": name, "name": "tiny", "recipe": {}, "stages": []}
        log.append({**begin, "provenance": {"git": None}})
        log.close()
    command = [sys.executable, "-c", FILL_IN, str(store.root)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    offsets = [json.loads((store.root / "runs" / name / CURSOR).read_text())["offset"] for name in ("one", "two")]
    assert offsets == [(store.root / "runs" / name / "events.jsonl").stat().st_size for name in ("one", "two")]
