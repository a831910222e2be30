"""The duration of exchanges, their hidden part, and the cost of a late worker, from known times on two workers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("comm_stream_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    home = tmp_path_factory.mktemp("comm_stream")
    command = [str(home / "rendezvous"), str(home)]
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), *command]) for rank in (0, 1)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    return [json.loads((home / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_waiting_for_the_wire_is_told_from_waiting_for_a_late_worker(results: list[dict]) -> None:
    """Worker 0 launches 1 s before worker 1, twice; the wire takes 0.5 s and 0.25 s. Worker 0 waits for the last 1.3 s
    and 0.1 s of its 1.5 s and 1.25 s, worker 1 for 0.2 s and not at all. Had both launched together, worker 0 would
    have had 0.2 s of work for the first wire of 0.5 s, and enough for the second."""
    for result in results:
        assert result["known"] == pytest.approx([1.5, 0.3 + 0.0 + 0.2, 1.0 + 0.1])


def test_nothing_is_reported_where_no_rows_were_exchanged(results: list[dict]) -> None:
    assert [result["counts_alone"] for result in results] == [None, None]


def test_every_exchange_is_timed_once_and_in_order(results: list[dict]) -> None:
    """Two layers: a count's exchange, dispatch and combine each, and the two in reverse."""
    layer = [False, True, True]
    for result in results:
        assert [rows for _, _, rows in result["measured"]] == layer * 2 + [True, True] * 2
        assert all(transfer > 0 and waited >= 0 for transfer, waited, _ in result["measured"])


def test_a_collective_fails_after_its_limit_in_groups_that_others_made(results: list[dict]) -> None:
    assert ["imed out" in heard for heard in results[0]["late"]] == [True, True]
