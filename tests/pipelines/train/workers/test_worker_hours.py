"""Worker time is summed over attempts, each with its number of workers, and lost steps are counted separately."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arctic_model.training import history
from infra.context import StageContext
from infra.runner import build
from infra.stage import Stage
from infra.store import Store
from pipelines.train.workers.attempts import FOLDER, AttemptClock, worker_hours
from tests.kit.files import watched_disk
from tests.kit.interruption import interrupted_before

STEP_S = st.floats(0.001, 1000.0)
ATTEMPT = st.tuples(st.integers(1, 64), st.lists(STEP_S, max_size=8), st.integers(0, 8), st.floats(0.0, 500.0))
"""Workers, seconds of each step, the number of them that a checkpoint saved, and seconds outside of the steps."""


@given(st.lists(ATTEMPT, max_size=5))
def test_hours_of_any_attempts_add_up(tmp_path_factory: pytest.TempPathFactory, attempts: list) -> None:
    folder, records = tmp_path_factory.mktemp("state"), []
    total = lost = waiting = 0.0
    for workers, steps, saved, beside in attempts:
        now = 0.0
        with patch.object(time, "monotonic", lambda: now):  # noqa: B023
            clock = AttemptClock(folder, workers, started=0.0)
            for seconds in steps:
                clock.stepped(seconds)
            now = sum(steps) + beside
            clock.write()
        records += [{"num_workers": workers, "step_s": seconds} for seconds in steps[:saved]]
        total += workers * (sum(steps) + beside)
        lost += workers * sum(steps[saved:])
        waiting += workers * beside
    hours = worker_hours(folder, records)
    assert hours.worker_hours * 3600 == pytest.approx(total, abs=1e-6)
    assert hours.lost_worker_hours * 3600 == pytest.approx(lost, abs=1e-6)
    assert hours.waiting_worker_hours * 3600 == pytest.approx(waiting, abs=1e-6)


def test_a_phase_that_changes_its_workers_costs_what_each_attempt_took(workshop) -> None:
    """One worker until an interruption in step 7, of which 4 are saved, then two."""
    section = {"micro_batch_sequences": 1, "price_per_worker_hour": 3600.0}
    with interrupted_before(7):
        workshop.run("phase", workshop.inputs(1), workshop.stage(**section))
    (first,) = attempts(workshop)
    _, metrics = workshop.run("phase", workshop.inputs(1), workshop.stage(num_workers=2, **section))
    (second,) = [each for each in attempts(workshop) if each != first]
    assert (first["num_workers"], second["num_workers"]) == (1, 2)
    assert metrics["cost"] == pytest.approx(first["elapsed_s"] + 2 * second["elapsed_s"])
    saved = sum(values["train/step_s"] for step, values in dict(workshop.points()).items() if step <= 4)
    assert 3600 * metrics["lost_worker_hours"] == pytest.approx(first["steps_s"] - saved)
    assert first["steps_s"] > saved
    beside = first["elapsed_s"] - first["steps_s"] + 2 * (second["elapsed_s"] - second["steps_s"])
    assert 3600 * metrics["waiting_worker_hours"] == pytest.approx(beside)


def attempts(workshop) -> list[dict]:
    files = (workshop.home / "phase-state" / FOLDER).glob("*.json")
    return [json.loads(file.read_text()) for file in files]


def test_an_attempt_that_is_killed_counts_up_to_its_last_beat(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipelines.train.workers.attempts import AttemptClock;"
        "from pipelines.train.workers.heartbeat import Heartbeat; home = Path(sys.argv[1]);"
        "clock = AttemptClock(home, 3, time.monotonic()); clock.stepped(0.25);"
        "Heartbeat(home / 'beats', 0, 3, clock.write).__enter__(); print('started', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        first = worker_hours(tmp_path, [])
        while (later := worker_hours(tmp_path, [])) == first:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert worker_hours(tmp_path, []).worker_hours >= later.worker_hours > first.worker_hours
    assert 3600 * later.lost_worker_hours == pytest.approx(0.75)


@given(st.binary(max_size=40), st.integers(0, 70))
def test_an_attempt_whose_last_beat_is_torn_counts_up_to_its_last_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes, remaining: int
) -> None:
    folder = tmp_path_factory.mktemp("state")
    now = 0.0
    with patch.object(time, "monotonic", lambda: now):
        clock = AttemptClock(folder, 3, started=0.0)
        now = 7.0
        clock.stepped(5.0)
        clock.save()
        now = 9.0
        clock.write()
        assert 3600 * worker_hours(folder, []).worker_hours == pytest.approx(27)
        (beat,) = (folder / FOLDER).glob("*.json")
        beat.write_bytes(beat.read_bytes()[: min(remaining, beat.stat().st_size - 1)] + rest.replace(b"}", b""))
    hours = worker_hours(folder, [])
    assert 3600 * hours.worker_hours == pytest.approx(21)
    assert 3600 * hours.lost_worker_hours == pytest.approx(15)


def test_steps_since_the_last_beat_are_on_disk_before_their_checkpoint(workshop, tmp_path: Path) -> None:
    """A power cut right after a commit leaves no saved step out of the attempt's time."""
    append, checks = history.append, []

    def check(file: Path, records: list) -> None:
        append(file, records)
        saved = [json.loads(line)["step_s"] for line in file.read_text().splitlines()]
        # The disk after a power cut: of a beat, nothing.
        left = tmp_path / f"left-{len(checks)}"
        shutil.copytree(file.parent / FOLDER, left / FOLDER)
        for copied in (left / FOLDER).iterdir():
            if not disk.has(file.parent / FOLDER / copied.name):
                copied.write_bytes(b"")
        checks.append(3600 * worker_hours(left, []).lost_worker_hours - sum(saved))

    with patch.object(history, "append", check), watched_disk() as disk:
        workshop.run("phase", workshop.inputs(1), workshop.stage())
    assert len(checks) == 4, "the empty history, and three checkpoints"
    assert min(checks) >= -1e-9


def test_threads_may_write_at_the_same_time(tmp_path: Path) -> None:
    """As the heartbeat and the loop do."""
    clock = AttemptClock(tmp_path, 2, time.monotonic())
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(clock.write) for _ in range(400)]:
            written.result()
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_clock_keeps_its_files_in_the_state_folder_that_the_runner_made(tmp_path: Path):
    def work(context: StageContext, _inputs: object) -> dict[str, float]:
        AttemptClock(context.state, 2, time.monotonic() - 5).write()
        return {"hours": worker_hours(context.state, []).worker_hours}

    stage = Stage("train", "1", 1, {}, {}, work)
    built = build(stage, Store(tmp_path / "store").open(), lambda _: None, None)
    assert built.manifest.metrics["hours"] >= 2 * 5 / 3600
