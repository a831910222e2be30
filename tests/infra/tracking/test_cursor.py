"""What is remembered of a tracking server: its address, without the credentials in it."""

import json
from pathlib import Path

import pytest

from infra.events import EventLog
from infra.store import Store
from infra.tracking import catch_up
from infra.tracking.tracker import CURSOR


@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_place_is_known_again_under_another_password_and_none_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = Store(tmp_path / "store").open()
    log = EventLog(store.root / "runs" / "one")
    begin = {"event": "run_started", "run_id": "one", "name": "tiny", "recipe": {}, "stages": []}
    log.append({**begin, "provenance": {"git": None}})
    log.close()
    kept = []
    for password in ("s3cret", "changed"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?password={password}")
        catch_up(store.root)
        kept.append((log.folder / CURSOR).read_text())
    assert kept[0] == kept[1], "the run is not sent again"
    assert json.loads(kept[0])["uri"].endswith("?password=***")
    assert json.loads(kept[0])["offset"] > 0
