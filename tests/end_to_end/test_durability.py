"""Kill it, run it again: nothing is lost, nothing is done twice, and the result is the same to the byte."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from infra.events import read_events

pytestmark = pytest.mark.slow


def wait_for(condition, process, seconds=240):
    """Poll until `condition()` gives something; the process must still be running then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        assert process.poll() is None, process.output.read_text()
        time.sleep(0.02)
    raise AssertionError(f"nothing after {seconds} s:\n{process.output.read_text()}")


def events(store: Path) -> list[dict]:
    """Events of the store's last run."""
    last = max((store / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime)
    return list(read_events(last))


def digests(artifacts):
    return {name: artifact.manifest.digests() for name, artifact in artifacts.items() if name != "report"}


@pytest.mark.timeout(900)
def test_a_run_killed_in_dedup_and_in_training_ends_as_if_it_had_not_been(recipe, arctic, start, committed, tmp_path):
    calm, storm = tmp_path / "calm", tmp_path / "storm"
    arctic("run", recipe, "--store", calm)

    process = start("run", recipe, "--store", storm)
    shards = wait_for(lambda: sorted(storm.glob("stages/dedup/*.state/*/shards/[!.]*")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: (path / "shard.json").stat().st_ino for path in shards if path.exists()}

    process = start("run", recipe, "--store", storm)
    wait_for(lambda: list(storm.glob("stages/train/1-*.state/checkpoints/step-*/*.json")), process)
    again = {path: (path / "shard.json").stat().st_ino for path in finished if path.exists()}
    assert all(finished[path] == inode for path, inode in again.items())
    process.send_signal(signal.SIGKILL)
    process.wait()

    arctic("run", recipe, "--store", storm)
    resumed = next(
        event for event in events(storm) if event["event"] == "stage_started" and event["stage"] == "train[1]"
    )
    assert resumed["attempt"] == 2
    assert digests(committed(storm)) == digests(committed(calm))


@pytest.mark.timeout(600)
def test_again_reuses_all_and_a_new_phase_3_rebuilds_only_what_hangs_on_it(recipe, arctic, committed, tmp_path):
    store = tmp_path / "store"
    arctic("run", recipe, "--store", store)
    before = committed(store)

    output = arctic("run", recipe, "--store", store)
    assert f"0 stages built, {len(before)} reused" in output
    assert {event["event"] for event in events(store)} == {"run_started", "stage_reused", "run_finished"}

    weights = "phases.3.weights={text_to_sql=0.9, code=0.1}"
    plan = arctic("plan", recipe, "--store", store, "--set", weights)
    building = [line.split()[0] for line in plan.splitlines() if " build " in line]
    assert building == ["mix[3]", "train[3]", "evaluate[3]", "report"]
    assert "weights.text_to_sql 0.75 -> 0.9" in next(line for line in plan.splitlines() if line.startswith("mix[3]"))

    arctic("run", recipe, "--store", store, "--set", weights)
    built = [event["stage"] for event in events(store) if event["event"] == "stage_finished"]
    assert sorted(built) == sorted(building)


@pytest.mark.timeout(300)
def test_a_corpus_replays_byte_for_byte_and_a_changed_store_is_found_out(recipe, arctic, committed, tmp_path):
    corpus, store = recipe.with_name("text_to_sql.toml"), tmp_path / "store"
    assert "nothing to compare with" in arctic("replay", corpus, "--store", store, code=2)
    arctic("run", corpus, "--store", store)
    assert "4 of 4 stages replayed the same" in arctic("replay", corpus, "--store", store)

    artifact = committed(store)["dedup[text_to_sql]"]
    first, *others = artifact.manifest.files
    changed = replace(artifact.manifest, files=(replace(first, sha256="0" * 64), *others))
    (artifact.path / "manifest.json").write_text(changed.to_json())
    assert "DIFFERS dedup[text_to_sql]: 1 of" in arctic("replay", corpus, "--store", store, code=1)


@pytest.mark.timeout(600)
def test_two_runs_of_one_recipe_on_one_store_build_each_stage_once(recipe, start, committed, tmp_path):
    store, corpus = tmp_path / "store", recipe.with_name("text_to_sql.toml")
    runs = [start("run", corpus, "--store", store) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0], "".join(run.output.read_text() for run in runs)
    logs = [list(read_events(folder)) for folder in (store / "runs").iterdir()]
    built = [event["stage"] for log in logs for event in log if event["event"] == "stage_finished"]
    assert sorted(built) == sorted(committed(store))
    ended = [event["stage"] for log in logs for event in log if event["event"] in ("stage_finished", "stage_reused")]
    assert sorted(ended) == sorted(2 * built)
    assert [log[-1]["status"] for log in logs] == ["finished", "finished"]
