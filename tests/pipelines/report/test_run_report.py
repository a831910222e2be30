"""Runs of a store are listed and compared, and each has its page, compared with another one if asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact
from infra.store.locks import try_lock
from pipelines.artifacts.evaluation import SAMPLES, SAMPLES_FILE
from pipelines.cli import main
from pipelines.errors import NotInStoreError, OptionError
from pipelines.lineage.runs import find_run, read_runs
from pipelines.run_report import recipe_changes, write_report

OLD, NEW = "demo-20260101-100000-aaaa", "demo-20260102-100000-bbbb"
BETTER = "f" * 12


def put(artifact: Artifact, key: str, store: Path) -> Path:
    """The result in the layout of a store."""
    manifest = replace(artifact.manifest, key=key)
    folder = store / "stages" / manifest.name / f"{manifest.subject or manifest.name}-{key}"
    shutil.copytree(artifact.path, folder)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def log(store: Path, run_id: str, time: float, keys: dict[str, str], peak_lr: float, status: str = "finished") -> None:
    folder = store / "runs" / run_id
    folder.mkdir(parents=True)
    recipe = {"run": {"name": "demo", "train": {"peak_lr": peak_lr}}, "corpora": {}, "fingerprints": {"web": run_id}}
    stages = [{"id": stage, "key": key, "action": "build"} for stage, key in keys.items()]
    start = {"time": time, "event": "run_started", "run_id": run_id, "name": "demo", "recipe": recipe, "stages": stages}
    points = {"time": time, "event": "metrics", "stage": "train[1]", "points": []}
    end = {"time": time + 60, "event": "run_finished", "status": status, "seconds": 60.0}
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in (start, points, end)))


@pytest.fixture(scope="module")
def store(small_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that share all stages but the last evaluation, in which the newer one answers all questions right."""
    store = tmp_path_factory.mktemp("two runs")
    keys = {stage: artifact.manifest.key for stage, artifact in small_run.artifacts.items()}
    for stage, artifact in small_run.artifacts.items():
        put(artifact, keys[stage], store)
    better = put(small_run.artifacts["evaluate[3]"], BETTER, store)
    rows = pq.read_table(better / SAMPLES_FILE).to_pylist()
    right = [{**row, "shares": row["shares"].replace("[0.0", "[1.0")} for row in rows]
    (better / SAMPLES_FILE).unlink()
    pq.write_table(pa.Table.from_pylist(right, schema=SAMPLES), better / SAMPLES_FILE)
    log(store, OLD, 1e9, keys, 0.01)
    log(store, NEW, 1.1e9, {**keys, "evaluate[3]": BETTER}, 0.006)
    return store


def test_runs_are_read_in_their_order_with_how_they_ended(store: Path) -> None:
    runs = read_runs(store)
    assert [(run.run_id, run.status, run.seconds) for run in runs] == [(OLD, "finished", 60.0), (NEW, "finished", 60.0)]
    assert runs[0].num_built == len(runs[0].keys) == 25


def test_a_log_without_an_end_is_of_a_run_that_goes_on_while_its_process_holds_it(tmp_path: Path) -> None:
    log(tmp_path, OLD, 1e9, {}, 0.01)
    events = tmp_path / "runs" / OLD / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:1]))
    with events.open("ab") as file:
        assert try_lock(file, events)
        assert read_runs(tmp_path)[0].status == "running"
    assert read_runs(tmp_path)[0].status == "killed"


@pytest.mark.parametrize(("name", "expected"), [("", NEW), ("aaaa", OLD), (NEW, NEW)])
def test_a_run_is_named_by_its_id_or_its_end(store: Path, name: str, expected: str) -> None:
    assert find_run(read_runs(store), name, store).run_id == expected


@pytest.mark.parametrize(("name", "told"), [("zzzz", "no run 'zzzz'"), ("0000", "no run '0000'")])
def test_a_run_that_is_not_there_is_answered_with_those_that_are(store: Path, name: str, told: str) -> None:
    with pytest.raises(NotInStoreError, match="arctic runs") as raised:
        find_run(read_runs(store), name, store)
    assert told in str(raised.value) and NEW in str(raised.value)


def test_the_page_of_a_run_shows_the_other_ones_recipe_curves_and_paired_differences(
    store: Path, tmp_path: Path
) -> None:
    page = write_report(store, "bbbb", "aaaa", tmp_path / "new" / "page.html").read_text()
    comparison = page.partition('<section aria-labelledby="comparison">')[2].partition("</section>")[0]
    assert ">train.peak_lr<" in comparison and ">0.01<" in comparison and ">0.006<" in comparison
    assert "fingerprints" not in comparison
    assert comparison.count("<svg") == 3
    accuracy = comparison.partition("execution_accuracy")[2].partition("</tr>")[0]
    # 12 of 40 answers were right before.
    assert 'class="better">+0.700<' in accuracy and "n = 40" in accuracy


def test_a_difference_goes_from_the_other_run_to_this_one_whichever_is_older(store: Path, tmp_path: Path) -> None:
    page = write_report(store, OLD, NEW, tmp_path / "page.html").read_text()
    assert 'class="worse">-0.700<' in page


def test_a_page_alone_has_no_comparison(store: Path, tmp_path: Path) -> None:
    assert "Comparison" not in write_report(store, "", None, tmp_path / "page.html").read_text()


def test_a_run_is_not_compared_with_itself(store: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the run itself"):
        write_report(store, "bbbb", NEW, tmp_path / "page.html")


def test_a_run_without_results_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    log(tmp_path, OLD, 1e9, {"source[web]": "0" * 12}, 0.01, "failed")
    with pytest.raises(NotInStoreError, match=r"lacks \(source\[web\]\)"):
        write_report(tmp_path, "", None, tmp_path / "page.html")


def test_recipes_differ_field_by_field_in_words_and_lists_of_other_lengths_as_a_whole(store: Path) -> None:
    before = {"phases": [{"tokens": 1}, {"tokens": 2}], "names": ["a"], "same": {"x": None}}
    after = {"phases": [{"tokens": 1}, {"tokens": 3}], "names": ["a", "b"], "same": {"x": None}, "new": True}
    run = read_runs(store)[0]
    assert recipe_changes(*(replace(run, recipe={"run": plain}) for plain in (before, after))) == [
        ("phases.2.tokens", "2", "3"),
        ("names", "['a']", "['a', 'b']"),
        ("new", "not set", "True"),
    ]


def test_the_command_lists_runs_and_compares_two(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def arctic(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["arctic", *arguments, "--store", str(store)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    assert arctic("runs").index(NEW) < arctic("runs").index(OLD)
    compared = arctic("runs", "aaaa", "bbbb")
    assert "train.peak_lr" in compared and "0.006" in compared
    line = next(line for line in compared.splitlines() if "evaluate[3] bits_per_byte/python_code" in line)
    assert len(set(line.split()[-2:])) == 1
