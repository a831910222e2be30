"""A run as a value: the outcome of each stage, the order of events, and the remaining files."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import RunResult, Stage, UserError, run
from infra.events import LIVE_ONLY, read_events
from infra.host.packages import PackageError
from infra.plan import plan
from infra.session import RunInfo, execute
from infra.store import Store

pytestmark = pytest.mark.usefixtures("two_cpus", "untracked")


def write(context, inputs):
    (context.out / "text").write_text(context.stage_id)
    return {"letters": float(len(context.stage_id))}


def fail(context, inputs):
    raise ValueError("no such page")


def chain(work=write) -> list[Stage]:
    pages = Stage("pages", work=write)
    words = Stage("words", inputs={"pages": pages}, work=work)
    return [Stage("index", inputs={"words": words}, work=write), Stage("links", inputs={"pages": pages}, work=write)]


def statuses(result: RunResult) -> dict[str, str]:
    return {name: stage.status for name, stage in result.stages.items()}


def test_a_run_returns_each_stage_with_its_files_and_metrics(tmp_path: Path) -> None:
    result = run(chain(), tmp_path)
    assert result.ok
    assert statuses(result) == dict.fromkeys(["pages", "words", "index", "links"], "built")
    assert (result.stages["words"].path / "text").read_text() == "words"
    assert result.metrics["index"] == {"letters": 5.0}


def test_a_second_run_reuses_everything_with_the_first_ones_files_and_seconds(tmp_path: Path) -> None:
    first, again = run(chain(), tmp_path), run(chain(), tmp_path)
    assert set(statuses(again).values()) == {"reused"}
    assert [stage.path for stage in again.stages.values()] == [stage.path for stage in first.stages.values()]
    assert [stage.seconds for stage in again.stages.values()] == [stage.seconds for stage in first.stages.values()]


def test_a_failed_stage_is_a_value_and_takes_only_its_descendants_with_it(tmp_path: Path) -> None:
    result = run(chain(fail), tmp_path)
    assert not result.ok
    assert statuses(result) == {"pages": "built", "words": "failed", "index": "skipped", "links": "built"}
    assert (result.failed, result.skipped) == ({"words": "ValueError: no such page"}, {"index": "words"})
    with pytest.raises(ValueError, match="index: skipped, so it has no result: words"):
        _ = result.stages["index"].path


def test_the_function_sees_what_the_log_keeps_between_the_runs_start_and_end(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    result = run(chain(fail), tmp_path, on_event=seen.append, name="pages")
    assert [event["event"] for event in (seen[0], seen[-1])] == ["run_started", "run_finished"]
    assert seen[-1]["status"] == "failed"
    assert [stage["id"] for stage in seen[0]["stages"]] == list(result.stages)
    assert [event for event in seen if event["event"] not in LIVE_ONLY] == list(read_events(result.folder))


def test_a_plan_estimates_by_the_newest_result_of_the_stage_whatever_its_parameters(tmp_path: Path) -> None:
    result = run([Stage("pages", params={"size": 1}, work=write)], tmp_path)
    changed = Stage("pages", params={"size": 2}, work=write)
    new = Stage("links", inputs={"pages": changed}, work=write)
    pages, links = plan(Store(tmp_path), [new])
    manifest = result.stages["pages"].artifact.manifest  # type: ignore[union-attr]
    assert (pages.expected_s, pages.expected_bytes) == (manifest.seconds, sum(file.bytes for file in manifest.files))
    assert (links.expected_s, links.expected_bytes) == (None, None)


def test_results_reach_the_one_who_watches_built_or_reused(tmp_path: Path) -> None:
    stage = Stage("pages", work=lambda context, inputs: {"data/pages": 3.0})
    for name in ("stage_finished", "stage_reused"):
        seen: list[dict[str, Any]] = []
        run([stage], tmp_path, on_event=seen.append)
        (event,) = (event for event in seen if event["event"] == name)
        assert event["metrics"] == {"data/pages": 3.0}


def test_what_describes_the_run_lies_beside_its_log_without_secrets(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    info = RunInfo("web", {"url": "https://me:secret@pages.example"}, {"lock.json": '{"u": "https://me:secret@h"}'})
    result = execute(plan(store, [Stage("pages", work=write)]), store, info)
    assert result.run_id.startswith("web-")
    assert "secret" not in (result.folder / "lock.json").read_text()
    [started, *_] = read_events(result.folder)
    assert "secret" not in json.dumps(started["recipe"])


def test_an_interrupted_run_is_closed_as_killed_and_the_next_one_continues(tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "stage_finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(chain(), tmp_path, on_event=interrupt)
    [log] = (tmp_path / "runs").iterdir()
    assert list(read_events(log))[-1]["status"] == "killed"
    assert statuses(run(chain(), tmp_path))["pages"] == "reused"


def test_a_missing_package_is_refused_here_and_only_reported_for_another_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    stage = Stage("tasks", work=write, packages=("no-such-package",))
    with pytest.raises(PackageError, match="tasks: no-such-package missing") as refused:
        run([stage], tmp_path)
    assert isinstance(refused.value, UserError)
    assert list((tmp_path / "runs").iterdir()) == []
    seen: list[dict[str, Any]] = []
    result = run([stage], tmp_path, "auto", seen.append)
    assert seen[0]["event"] == "missing_package"
    assert "no-such-package missing" in result.failed["tasks"]


def test_stages_that_need_no_cluster_start_none_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str | None) -> None:
        raise AssertionError(f"a cluster at {address} was asked for")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("infra.cluster.connection.connect", refuse)
    first = Stage("first", work=lambda context, inputs: {"made": 1.0}, inline=True)
    second = Stage("second", inputs={"first": first}, work=lambda context, inputs: {"made": 2.0}, inline=True)
    assert run([second], tmp_path).metrics == {"first": {"made": 1.0}, "second": {"made": 2.0}}
    third = Stage("third", inputs={"second": second}, work=lambda context, inputs: {}, inline=True)
    with pytest.raises(AssertionError, match="a cluster at auto was asked for"):
        run([third], tmp_path, address="auto")
    with pytest.raises(AssertionError, match="a cluster at None was asked for"):
        run([Stage("far", inputs={"second": second}, work=lambda context, inputs: {})], tmp_path)
