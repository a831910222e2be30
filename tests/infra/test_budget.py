"""A run that reaches its limit ends at the next commit, and the next run goes on from there."""

from pathlib import Path
from typing import Any

import pytest

from infra.budget import Budget, Meter, num_workers
from infra.context import StageContext
from infra.events import EventLog
from infra.fanout import map_shards
from infra.plan import plan
from infra.progress.outcome import Outcome
from infra.resources import Demand, Resources
from infra.runner import run_inline
from infra.stage import Stage
from infra.store import Store
from tests.kit.stages import idle_stage

GROUP = Resources(group=Demand(4, 1.0))


class Clock:
    """Seconds that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("budget", "hours", "worker_hours", "message"),
    [
        (Budget(), 1e9, 1e9, ""),
        (Budget(max_hours=2), 1.99, 1e9, ""),
        (Budget(max_hours=2), 2.0, 0, "--max-hours 2 is reached"),
        (Budget(max_hours=0), 0, 0, "--max-hours 0 is reached"),
        (Budget(max_cost=10, price_per_worker_hour=2.5), 99, 3.99, ""),
        (Budget(max_cost=10, price_per_worker_hour=2.5), 0, 4.0, "--max-cost 10 is reached (4.00 worker-hours at 2.5)"),
    ],
)
def test_a_limit_is_reached_by_hours_or_by_the_price_of_workers(
    budget: Budget, hours: float, worker_hours: float, message: str
) -> None:
    assert budget.exceeded(hours, worker_hours) == message


@pytest.mark.parametrize(
    ("resources", "workers"),
    [(Resources(), 0), (Resources(num_cpus=0.5), 1), (Resources(num_gpus=1), 1), (GROUP, 4)],
)
def test_a_stage_pays_for_its_group_or_its_task(resources: Resources, workers: int) -> None:
    stage = Stage("train", work=lambda context, inputs: {}, resources=resources)
    assert num_workers(stage) == workers


def test_worker_hours_are_counted_while_stages_run_each_attempt_apart() -> None:
    clock = Clock()
    stages = {name: Stage(name, work=lambda context, inputs: {}, resources=GROUP) for name in ("train", "evaluate")}
    meter = Meter(Budget(max_cost=10, price_per_worker_hour=1), stages, clock)
    # 4 workers: half an hour, a pause, another attempt of an hour that is followed by one of a second stage.
    history = [
        (0, "stage_started", "train"),
        (1800, "stage_failed", "train"),
        (9000, "stage_started", "train"),
        (12600, "stage_finished", "train"),
        (12600, "stage_started", "evaluate"),
    ]
    for seconds, event, stage in history:
        clock.now = seconds
        meter.see({"event": event, "stage": stage})
    assert [stage.id for stage in meter.running] == ["evaluate"]
    clock.now = 12600 + 3599
    assert meter.exceeded() == ""
    clock.now = 12600 + 3600
    assert meter.exceeded() == "--max-cost 10 is reached (10.00 worker-hours at 1)"


def run(store: Store, stages: list[Stage], budget: Budget) -> tuple[Outcome, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    log = EventLog(store.root / "runs" / f"run-{len(list((store.root / 'runs').iterdir()))}")
    outcome = run_inline(plan(store, stages), store, log, events.append, budget)
    log.close()
    return outcome, events


def test_a_stage_stops_after_the_shard_that_reached_the_limit_and_goes_on_with_the_next(tmp_path: Path) -> None:
    store, done = Store(tmp_path / "store").open(), []
    clock = Clock()

    def shard(number: int, folder: Path) -> dict[str, int]:
        done.append(number)
        clock.now += 3600
        (folder / f"{number}.txt").write_text(str(number))
        return {"rows": 1}

    def work(context: StageContext, inputs: object) -> dict[str, float]:
        return {"rows": float(len(map_shards(context, shard, range(5))))}

    source = Stage("source", "web", work=work)
    behind = idle_stage("filter", "web", inputs={"source": source})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.runner._meter", lambda planned, budget: Meter(budget, meter_stages(planned), clock))
        outcome, events = run(store, [source, behind], Budget(max_hours=2))
        assert done == [0, 1]
        assert outcome.limit == "--max-hours 2 is reached"
        assert outcome.skipped == {"source[web]": outcome.limit, "filter[web]": "source[web]"}
        assert not outcome.failed
        assert events[-2]["event"] == "stage_skipped" and events[-2]["because"] == outcome.limit
    outcome, _ = run(store, [source, behind], Budget())
    assert outcome.ok and done == [0, 1, 2, 3, 4]


def meter_stages(planned: Any) -> dict[str, Stage]:
    return {each.stage.id: each.stage for each in planned}


def test_a_stage_whose_last_shard_reaches_the_limit_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()

    def work(context: StageContext, inputs: object) -> dict[str, float]:
        def last_shard(number: int, folder: Path) -> dict[str, int]:
            (context.state / ".stop").write_text("--max-hours 1 is reached")
            return {}

        map_shards(context, last_shard, range(1))
        return {}

    outcome, _ = run(store, [Stage("source", "web", work=work)], Budget())
    assert outcome.ok


def test_nothing_begins_after_the_limit(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").open()
    outcome, events = run(store, [idle_stage("source", "web"), idle_stage("source", "code")], Budget(max_hours=0))
    assert set(outcome.skipped.values()) == {"--max-hours 0 is reached"}
    assert "stage_started" not in {event["event"] for event in events}
