"""A run on a cluster of three nodes, one of which leaves or joins while a stage works.

python -m tests.end_to_end.clusters.leaving_nodes STORE STAGE kill|drain|join [STEPS]
"""

import hashlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.context import StageContext
from infra.events import EventLog
from infra.groups.actors import map_on_actors
from infra.plan import plan
from infra.resources import Demand, Resources
from infra.runner import run
from infra.stage import Stage
from infra.store import Store
from tests.chaos.chain import STEPS, chain

NODE_CPUS = 1
MEMORY = 80 * 2**20


def read_digest(file: Path) -> str:
    time.sleep(0.3)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def evaluate(context: StageContext, inputs: dict[str, Artifact]) -> dict[str, float]:
    """The digest of each file of the checkpoint, worked out by actors."""
    files = sorted(file for file in (inputs["train"].path / "checkpoint").rglob("*") if file.is_file())
    digests = dict(map_on_actors(lambda: read_digest, files, context, num_actors=2, num_cpus=0.5))
    (context.out / "digests.json").write_text(json.dumps([digests[index] for index in range(len(files))]))
    return {}


def stages(steps: int = STEPS) -> list[Stage]:
    trained = chain(steps)
    needs = Resources(group=Demand(1, 0.5))
    return [*trained, Stage("evaluate", "1", inputs={"train": trained[-1]}, work=evaluate, resources=needs)]


class Cluster:
    """A head without CPUs and nodes of one CPU, on this machine."""

    def __init__(self, num_nodes: int) -> None:
        from ray.cluster_utils import Cluster as LocalCluster

        self._cluster: Any = LocalCluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY}
        )
        self.address = self._cluster.address
        self._nodes = [self._node() for _ in range(num_nodes)]

    def _node(self) -> Any:
        return self._cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=MEMORY)

    def join(self) -> None:
        self._nodes.append(self._node())

    def kill(self) -> None:
        """The working node, or else the first, dies without notice; another replaces it."""
        self._cluster.remove_node(self._working(), allow_graceful=False)
        self.join()

    def lose(self) -> None:
        """A working node dies without notice, and none replaces it."""
        self._cluster.remove_node(self._working(), allow_graceful=False)

    def drain(self) -> None:
        """The working node is announced to leave in 30 s; another replaces it."""
        import ray
        from ray.core.generated import autoscaler_pb2

        node = self._working()
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        client = ray._raylet.GcsClient(address=self.address)
        deadline_ms = int((time.time() + 30) * 1000)
        accepted, why = client.drain_node(node.node_id, reason, "spot", deadline_ms)
        assert accepted, why
        self.join()

    def _working(self) -> Any:
        import ray

        available = ray._private.state.available_resources_per_node()
        busy = [node for node in self._nodes if available.get(node.node_id, {}).get("CPU", 0) < NODE_CPUS]
        node = busy[0] if busy else self._nodes[0]
        self._nodes.remove(node)
        return node

    def shutdown(self) -> None:
        self._cluster.shutdown()


def main(location: str, stage: str, action: str, steps: str = str(STEPS)) -> None:
    import ray

    cluster = Cluster(1 if action == "join" else 2)
    ray.init(address=cluster.address, log_to_driver=False)
    store = Store(location).open()
    events: list[dict[str, Any]] = []
    resumed: dict[str, float] = {}
    disturbed: list[float] = []
    begun = threading.Event()

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "stage_started" and event["name"] == "train" and event["attempt"] == 2:
            folders = store.root.glob("stages/train/*.state/checkpoints/step-*")
            checkpoints = {int(folder.name.partition("-")[2]): folder for folder in folders}
            resumed.update(
                checkpoint=max(checkpoints),
                saved_after_s=checkpoints[max(checkpoints)].stat().st_mtime - disturbed[0],
                reported=max(
                    (step for each in events if each["event"] == "metrics" for step, _ in each["points"]), default=0
                ),
            )
        if event["event"] == "stage_started" and event["name"] == stage:
            begun.set()

    log = EventLog(store.root / "runs" / "run")
    # Ray starts nodes in the main thread only, so the run is in another.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, plan(store, stages(int(steps))), store, log, watch)
        while not begun.wait(0.05):
            assert not running.done(), running.result().failed
        wait_for_work(store, stage)
        assert not running.done(), "the run ended before it was disturbed"
        disturbed.append(time.time())
        getattr(cluster, action)()
        outcome = running.result()
    log.close()
    counts: dict[str, int] = {}
    for event in events:
        if event["event"] == "stage_finished":
            counts[event["stage"]] = counts.get(event["stage"], 0) + 1
    digests = {name: artifact.manifest.digests() for name, artifact in outcome.artifacts.items()}
    print("RESULT" + json.dumps({"failed": outcome.failed, "built": counts, "digests": digests, "resumed": resumed}))
    ray.shutdown()
    cluster.shutdown()


def wait_for_work(store: Store, stage: str) -> None:
    """Until a stage that has begun is in the midst of it; training is when its first checkpoint is there."""
    if stage != "train":
        time.sleep(0.3)
        return
    while not list(store.root.glob("stages/train/*.state/checkpoints/step-*")):
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
