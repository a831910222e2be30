"""Plans and runs of small graphs, in this process: reused stages, built stages, and stages that a failure skips."""

import os
import threading
from dataclasses import replace

import pytest

from infra import runner
from infra.events import EventLog, read_events
from infra.fanout import ShardResult, map_shards, shard_key
from infra.plan import SelectionError, plan, require_inputs, select
from infra.runner import run_inline
from infra.stage import Early, Stage
from infra.store import file_digest


def write(context, inputs, text):
    upstream = "".join((artifact.path / "text").read_text() for artifact in inputs.values())
    (context.out / "text").write_text(upstream + text)
    return {"data/bytes": float(len(upstream + text))}


def node(name, subject="", text=None, work=None, **inputs):
    text = text if text is not None else name
    return Stage(
        name, subject, 1, {"text": text}, inputs, work or (lambda context, provided: write(context, provided, text))
    )


def diamond(left="left"):
    source = node("source", "web")
    sides = node("filter", "web", left, source=source), node("dedup", "web", source=source)
    join = node("mix", "1", left=sides[0], right=sides[1])
    return {stage.id: stage for stage in (source, *sides, join)}


@pytest.fixture
def run(store):
    def run(stages, **selection):
        log = EventLog(store.root / "runs" / "test")
        events = []
        outcome = run_inline(plan(store, select(stages, **selection)), store, log, events.append)
        log.close()
        return outcome, events

    return run


def actions(store, stages):
    return {step.stage.id: step.action for step in plan(store, list(stages.values()))}


def test_a_graph_runs_in_order_and_again_is_all_reuse(store, run):
    outcome, _ = run(diamond())
    assert outcome.ok
    assert (outcome.artifacts["mix[1]"].path / "text").read_text() == "sourceleftsourcededupmix"
    assert set(actions(store, diamond()).values()) == {"reuse"}
    again, events = run(diamond())
    assert {event["event"] for event in events} == {"stage_reused"}
    assert again.artifacts == outcome.artifacts


def test_a_change_rebuilds_what_stands_below_and_the_plan_says_why(store, run):
    run(diamond())
    planned = {step.stage.id: step for step in plan(store, list(diamond(left="LEFT").values()))}
    assert {stage: step.action for stage, step in planned.items()} == {
        "source[web]": "reuse",
        "filter[web]": "build",
        "dedup[web]": "reuse",
        "mix[1]": "build",
    }
    assert planned["filter[web]"].reason == "text left -> LEFT"
    assert planned["mix[1]"].reason == "input filter[web] changed"


def test_a_failure_takes_its_descendants_and_nobody_else(store, run):
    def broken(context, inputs):
        raise ValueError("no such page")

    source = node("source", "web")
    bad = node("filter", "web", work=broken, source=source)
    stages = {s.id: s for s in (source, bad, node("dedup", "web", bad=bad), node("dedup", "code", source=source))}
    outcome, events = run(stages)
    assert outcome.failed == {"filter[web]": "ValueError: no such page"}
    assert outcome.skipped == {"dedup[web]": "filter[web]"}
    assert set(outcome.artifacts) == {"source[web]", "dedup[code]"}
    assert "no such page" in next(event for event in events if event["event"] == "stage_failed")["detail"]
    assert actions(store, stages)["filter[web]"] == "build"


def test_events_survive_in_order_and_a_torn_last_line_is_left_out(store, run):
    run(diamond())
    folder = store.root / "runs" / "test"
    remaining = [(event["event"], event["stage"]) for event in read_events(folder)]
    assert remaining[:2] == [("stage_started", "source[web]"), ("stage_finished", "source[web]")]
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event": "sta')
    assert [(event["event"], event["stage"]) for event in read_events(folder)] == remaining


def test_a_stage_that_another_run_builds_is_waited_for_and_taken_over(store, monkeypatch):
    monkeypatch.setattr(runner, "REPORT_S", 0.0)
    is_building, go_on, built = threading.Event(), threading.Event(), []

    def work(context, inputs):
        built.append(context.stage_id)
        is_building.set()
        assert go_on.wait(60)
        return {"data/rows": 1.0}

    stages = {"source[web]": node("source", "web", work=work)}
    events = {name: [] for name in ("first", "second")}

    def see(name, event):
        events[name].append(event)
        if event["event"] == "waiting":
            go_on.set()

    def run(name):
        log = EventLog(store.root / "runs" / name)
        run_inline(plan(store, list(stages.values())), store, log, lambda event: see(name, event))
        log.close()

    first = threading.Thread(target=run, args=("first",))
    first.start()
    assert is_building.wait(60)
    run("second")
    first.join(60)
    assert built == ["source[web]"]
    assert [event["event"] for event in events["first"]] == ["stage_started", "stage_finished"]
    *waits, last = events["second"]
    assert {event["event"] for event in waits} == {"waiting"}
    assert f"the run that builds it (process {os.getpid()} on " in waits[0]["needs"]
    assert (last["event"], last["metrics"]) == ("stage_reused", {"data/rows": 1.0})
    assert not store.state(stages["source[web]"]).exists()


def test_finished_shards_are_not_done_again(store, run, tmp_path):
    done = []

    def shard(number, folder):
        if number == 3 and not (tmp_path / "mended").exists():
            raise RuntimeError("shard 3 breaks")
        done.append(number)
        (folder / f"{number:05d}.txt").write_text(str(number))
        return ShardResult({"rows": number}, [{"origin": f"r{number}", "reason": "torn"}] if number == 1 else [])

    def work(context, inputs):
        results = map_shards(context, shard, range(5))
        return {"data/rows": float(sum(result.metrics["rows"] for result in results))}

    stages = {"source[web]": Stage("source", "web", 1, {}, {}, work)}
    outcome, _ = run(stages)
    assert outcome.failed == {"source[web]": "RuntimeError: shard 3 breaks"}
    assert "continues an earlier attempt" in plan(store, list(stages.values()))[0].reason
    (tmp_path / "mended").touch()
    outcome, events = run(stages)
    manifest = outcome.artifacts["source[web]"].manifest
    assert done == [0, 1, 2, 3, 4]
    assert manifest.metrics == {"data/rows": 10.0}
    assert [entry.path for entry in manifest.files] == [f"{number:05d}.txt" for number in range(5)]
    assert [dict(record) for record in manifest.quarantined] == [{"origin": "r1", "reason": "torn"}]
    assert manifest.provenance["attempt"] == 2
    first = next(event for event in events if event["event"] == "progress")
    assert (first["done"], first["total"]) == (3, 5)


@pytest.fixture
def letters(tmp_path):
    """A stage that copies files of letters, one a shard; `made` lists which it worked on."""
    made = []

    def copy(file, folder):
        made.append(file.name)
        (folder / "copies").mkdir()
        (folder / "copies" / file.name).write_text(file.read_text())
        torn = [{"origin": file.name, "reason": "torn"}] if "?" in file.read_text() else []
        return ShardResult({"letters": len(file.read_text())}, torn)

    def stage(case, **texts):
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        files = [tmp_path / name for name in texts]
        keys = [shard_key(number, {"case": case}, file_digest(file)) for number, file in enumerate(files)]

        def work(context, inputs):
            results = map_shards(context, copy, files, keys=keys)
            return {"data/letters": sum(result.metrics["letters"] for result in results)}

        return {"source[web]": Stage("source", "web", 1, {"case": case, "keys": keys}, {}, work)}

    return stage, made


def test_a_changed_input_costs_the_shards_it_touches(run, letters):
    stage, made = letters
    first = run(stage("upper", a="A", b="BB?", c="CCC"))[0].artifacts["source[web]"]
    second = run(stage("upper", a="A", b="BB?", c="DDDD"))[0].artifacts["source[web]"]
    assert made == ["a", "b", "c", "c"]
    assert [(second.path / "copies" / name).read_text() for name in "abc"] == ["A", "BB?", "DDDD"]
    assert second.manifest.metrics == {"data/letters": 8}
    assert second.manifest.quarantined == first.manifest.quarantined == ({"origin": "b", "reason": "torn"},)
    assert (first.manifest.provenance["shards_reused"], second.manifest.provenance["shards_reused"]) == (0, 2)
    assert {name: second.manifest.digests()[name] for name in ("copies/a", "copies/b")}.items() <= (
        first.manifest.digests().items()
    )


def test_no_shard_is_taken_over_that_was_made_otherwise_or_is_damaged_or_by_other_code(run, letters, monkeypatch):
    stage, made = letters
    first = run(stage("upper", a="A", b="BB"))[0].artifacts["source[web]"]
    run(stage("lower", a="A", b="BB"))
    assert made == ["a", "b"] * 2
    (first.path / "copies" / "b").write_text("rot")
    run(stage("upper", a="A", b="BB", c="C"))
    assert made[4:] == ["b", "c"]
    monkeypatch.setattr(runner, "code_digest", lambda module: "mended")
    run(stage("upper", a="A", b="BB", c="C", d="D"))
    assert made[6:] == ["a", "b", "c", "d"]


def test_selection_by_name_and_by_pattern(store):
    stages = diamond()
    assert [stage.id for stage in select(stages, until="dedup")] == ["dedup[web]"]
    assert [stage.id for stage in select(stages, only="*[web]")] == ["source[web]", "filter[web]", "dedup[web]"]
    assert [stage.id for stage in select(stages, only="mix[1]")] == ["mix[1]"]
    for option in ("until", "only"):
        for stage in stages.values():
            assert select(stages, **{option: stage.id}) == [stage]
            assert select(stages, **{option: stage.name}) == [
                each for each in stages.values() if each.name == stage.name
            ]
        assert select(stages, **{option: "mi?"}) == [stages["mix[1]"]]
        assert select(stages, **{option: "*"}) == list(stages.values())
    with pytest.raises(SelectionError, match=r"--until train: no such stage. The stages are source\[web\], "):
        select(stages, until="train")
    with pytest.raises(SelectionError, match=r"--only train\*: no such stage"):
        select(stages, only="train*")


def test_only_refuses_to_build_what_it_leaves_out(store, run):
    stages = diamond()
    selected = select(stages, only="mix*")
    with pytest.raises(SelectionError, match=r"leaves out source\[web\], filter\[web\], dedup\[web\]"):
        require_inputs(plan(store, selected), selected)
    run(stages, only="source*")
    run(stages, only="filter*")
    run(stages, only="dedup*")
    require_inputs(plan(store, selected), selected)


def test_reusing_a_result_of_other_code_is_a_warning(store, run):
    stages = {"source[web]": node("source", "web")}
    outcome, _ = run(stages)
    artifact = outcome.artifacts["source[web]"]
    other = replace(artifact.manifest, provenance={**artifact.manifest.provenance, "code": "0" * 64})
    (artifact.path / "manifest.json").write_text(other.to_json())
    _, events = run(stages)
    assert [event["event"] for event in events] == ["stage_reused", "warning"]
    assert "the code of source[web] changed" in events[1]["message"]


def early_of(train, step=400):
    """A stage that reads the files that a training leaves next to its result at a step."""

    def work(context, inputs):
        assert inputs["train"].path == context.early.parent.with_suffix("")
        (context.out / "text").write_text(context.early.read_text())
        return {}

    leaf = f"{train.subject}-{train.key}.weights/step-{step}"
    return Stage(
        "evaluate", f"1.{step}", 1, {}, {"train": train}, work, early=Early("train", (leaf,), "Keep the weights.")
    )


def test_what_a_stage_left_beside_its_result_is_read_after_it_too(store, run):
    def work(context, inputs):
        beside = store.path(train).with_suffix(".weights")
        beside.mkdir()
        (beside / "step-400").write_text("weights of step 400")
        (context.out / "text").write_text("result")
        return {}

    train = node("train", "1", work=work)
    early, late = early_of(train), early_of(train, step=500)
    outcome, _ = run({stage.id: stage for stage in (train, early, late)})
    assert (outcome.artifacts["evaluate[1.400]"].path / "text").read_text() == "weights of step 400"
    assert outcome.failed["evaluate[1.500]"].startswith("train[1] is finished and has not left 1-")
    assert outcome.failed["evaluate[1.500]"].endswith(".weights/step-500. Keep the weights.")
