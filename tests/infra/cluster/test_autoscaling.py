"""Demand on the shipped pools, which start at zero: stages on GPUs, groups of workers, shards and actors each start the
machines that they need, report that while they wait, and machines leave when the work is done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DRIVER = """
import json, sys, time
import ray
from infra.groups.actors import map_on_actors
from infra.groups.mapping import map_on_groups
from infra.cluster.connection import connect
from infra.context import StageContext
from infra.events import EventLog
from infra.fanout import ShardResult, map_shards
from infra.plan import plan
from infra.runner import run
from infra.resources import Demand, Resources
from infra.stage import Stage
from infra.store import Store
from pathlib import Path


def gpus(context, inputs):
    return {"gpus": float(len(ray.get_gpu_ids()))}


def shard(number, folder):
    time.sleep(0.3)
    (folder / f"{number}.txt").write_text(str(number * number))
    return ShardResult({"node": ray.get_runtime_context().get_node_id()})


def shards(context, inputs):
    return {"machines": float(len({found.metrics["node"] for found in map_shards(context, shard, range(60))}))}


def actors(context, inputs):
    found = sorted(map_on_actors(lambda: lambda n: n * n, range(6), context, num_actors=2, num_gpus=2.0))
    return {"sum": float(sum(value for _, value in found))}


def group(context, inputs):
    answers = list(map_on_groups(lambda member: lambda n: n, [7], context, num_groups=1, demand=Demand(4, 1.0, 2.0)))
    return {"gpus": ray.cluster_resources()["GPU"], "answer": float(answers[0][1])}


stages = [
    Stage("train", "1", 1, {}, {}, gpus, Resources(1.0, 4.0)),
    Stage("source", "web", 1, {}, {}, shards),
    Stage("train", "2", 1, {}, {}, group, Resources(group=Demand(4, 1.0, 2.0))),
    Stage("evaluate", "1", 1, {}, {}, actors, Resources(0.5, group=Demand(1, 1.0, 2.0))),
    Stage("train", "huge", 1, {}, {}, gpus, Resources(1.0, 5.0)),
    Stage("train", "many", 1, {}, {}, gpus, Resources(group=Demand(17, 0.0, 1.0))),
]
store = Store(Path(sys.argv[2])).open()
events = []
with connect(sys.argv[1]):
    at_first = ray.cluster_resources().get("CPU", 0.0)
    outcome = run(plan(store, stages), store, EventLog(store.root / "runs" / "r"), events.append)
    at_most = ray.cluster_resources()
    deadline = time.monotonic() + 120
    while ray.cluster_resources().get("CPU", 0.0) and time.monotonic() < deadline:
        time.sleep(1)
    at_last = ray.cluster_resources().get("CPU", 0.0)
    digests = outcome.artifacts["source[web]"].manifest.digests() if "source[web]" in outcome.artifacts else {}
print("FOUND" + json.dumps({
    "metrics": {name: dict(found.manifest.metrics) for name, found in outcome.artifacts.items()},
    "failed": outcome.failed, "first": at_first, "last": at_last, "most": at_most, "shards": len(digests),
    "waits": sorted({(event["stage"], event["needs"]) for event in events if event["event"] == "waiting"}),
    "first_error": min((i for i, e in enumerate(events) if e["event"] == "stage_failed"), default=-1),
}))
"""


def test_each_kind_of_demand_brings_up_machines_and_only_the_impossible_is_refused(pools_cluster, tmp_path: Path):
    import os

    cluster = pools_cluster(idle_timeout_minutes=0.15)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path / "store")],
        env={**os.environ, **cluster.environment, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    _, mark, text = done.stdout.rpartition("FOUND")
    assert mark, done.stdout + done.stderr
    result = json.loads(text)
    assert set(result["failed"]) == {"train[huge]", "train[many]"}, result
    assert "needs 5 GPUs and 1 CPU, the cluster can have 24 CPUs and 16 GPUs" in result["failed"]["train[huge]"]
    assert "needs 17 x 1 GPU, the cluster can have" in result["failed"]["train[many]"]
    # Before any machine is up, and not after the others have run.
    assert result["first_error"] <= 1
    assert result["metrics"]["train[1]"] == {"gpus": 4.0}
    assert result["metrics"]["evaluate[1]"] == {"sum": 55.0}
    assert result["metrics"]["train[2]"]["gpus"] >= 8 and result["metrics"]["train[2]"]["answer"] == 7
    assert result["metrics"]["source[web]"]["machines"] >= 2 and result["shards"] == 60
    # A machine that comes within seconds is waited for in silence.
    needs = {"train[1]": "4 GPUs and 1 CPU", "train[2]": "4 x 2 GPUs and 1 CPU"}
    assert all(told == needs[stage] for stage, told in result["waits"] if stage in needs)
    assert result["first"] == result["last"] == 0.0
