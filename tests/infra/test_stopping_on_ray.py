"""A request to stop on a real Ray: shards that are begun are finished, and no other one begins."""

import math
import time

import pytest

from infra.budget import Budget, StoppedError
from infra.context import STOP, StageContext
from infra.events import EventLog
from infra.fanout import ShardResult, map_shards
from infra.groups.actors import map_on_actors
from infra.plan import plan
from infra.resources.capacity import Capacity
from infra.runner import run
from infra.stage import Stage
from infra.store import Store
from tests.kit.stages import do_nothing

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("two_cpus")]


def square(number, folder):
    (folder / f"{number}.txt").write_text(str(number * number))
    return ShardResult({"square": number * number})


def square_slowly(number, folder):
    time.sleep(0.3)
    return square(number, folder)


def sum_of_squares(context, inputs):
    results = map_shards(context, square_slowly, list(range(60)), num_cpus=0.5)
    return {"sum": float(sum(result.metrics["square"] for result in results))}


def test_a_run_at_its_limit_finishes_the_shards_that_are_begun_and_the_next_one_goes_on(tmp_path):
    stage = Stage("squares", "web", work=sum_of_squares)
    behind = Stage("report", "web", inputs={"squares": stage}, work=do_nothing)
    store = Store(tmp_path / "store").open()
    finished = store.state(stage) / "shards"

    class Spent(Budget):
        """Reached once a shard is finished: no test waits for an hour."""

        def exceeded(self, hours, worker_hours):
            return "--max-hours 2 is reached" if list(finished.glob("[!.]*")) else ""

    log = EventLog(store.root / "runs" / "limited")
    outcome = run(plan(store, [behind]), store, log, lambda event: None, Spent())
    log.close()
    assert outcome.failed == {}
    assert outcome.skipped["squares[web]"] == outcome.limit == "--max-hours 2 is reached"
    assert set(outcome.skipped) == {"squares[web]", "report[web]"}
    done = {folder.name: (folder / "shard.json").stat().st_ino for folder in finished.glob("[!.]*")}
    assert 0 < len(done) < 60
    assert not list(finished.glob(".*")), "no shard was cut short"

    built = []

    def watch(event):
        # The shards of the first run are still the same files.
        if event["event"] == "stage_started" and event["stage"] == "squares[web]":
            built.extend(done[name] == (finished / name / "shard.json").stat().st_ino for name in done)

    log = EventLog(store.root / "runs" / "unlimited")
    outcome = run(plan(store, [behind]), store, log, watch)
    log.close()
    assert outcome.ok and all(built) and built
    assert outcome.artifacts["squares[web]"].manifest.metrics == {"sum": float(sum(n * n for n in range(60)))}


def write_slowly(number, folder):
    (folder / f"{number}.txt").write_text("begun")
    time.sleep(0.3)
    return {}


class Awaited(StageContext):
    """Is asked to stop at the n-th look for it."""

    look = 1

    def stop_reason(self):
        self.look -= 1
        if self.look <= 0:
            (self.state / STOP).write_text("enough")
        return super().stop_reason()


@pytest.mark.parametrize("part", ["", "sign"])
@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_request_to_stop_cuts_no_shard_short_whenever_it_comes(tmp_path, look, part):
    context = Awaited("squares", tmp_path / "out", tmp_path / "state", lambda event: None, parallel=True)
    context.look = look
    with pytest.raises(StoppedError, match="enough"):
        map_shards(context, write_slowly, list(range(40)), part=part)
    shards = list((context.state / part / "shards").iterdir())
    assert len(shards) < 40
    assert not [shard.name for shard in shards if not (shard / "shard.json").exists()], "no shard was cut short"


def on_shards(context, num_cpus):
    return map_shards(context, square, [1, 2], num_cpus=num_cpus)


def on_actors(context, num_cpus):
    return list(map_on_actors(lambda: abs, [1, 2], context, num_actors=2, num_cpus=num_cpus))


@pytest.mark.parametrize("spread", [on_shards, on_actors])
def test_a_stage_that_waits_for_a_machine_heeds_a_request_to_stop(tmp_path, spread):
    """No part of it is ever finished, after which it would look."""
    endless = Capacity(limits=None, patience_s=math.inf)
    context = Awaited("squares", tmp_path / "out", tmp_path / "state", lambda event: None, True, endless)
    context.look = 3
    context.state.mkdir()
    with pytest.raises(StoppedError, match="enough"):
        spread(context, num_cpus=64)
