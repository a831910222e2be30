"""A training of one to two workers on a cluster of two nodes, one of which dies; later another one joins.

python -m tests.end_to_end.clusters.elastic_training STORE STEPS
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.events import EventLog
from infra.plan import plan
from infra.runner import run
from infra.stage import Stage
from infra.store import Store
from tests.chaos.chain import chain
from tests.end_to_end.clusters.leaving_nodes import Cluster, wait_for_work

PEAK_LR = 0.0003
"""Low enough that the few sequences, read again and again, cause no spike."""


def stages(steps: int) -> list[Stage]:
    return chain(steps, num_workers=[1, 2], checkpoint_every_steps=20, peak_lr=PEAK_LR)


def main(location: str, steps: str) -> None:
    import ray

    cluster = Cluster(2)
    ray.init(address=cluster.address, log_to_driver=False)
    store = Store(Path(location)).open()
    warnings: list[str] = []
    workers: dict[int, float] = {}
    shrunk = threading.Event()

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "metrics":
            workers.update((step, point["train/num_workers"]) for step, point in event["points"])
        if event["event"] == "warning":
            warnings.append(event["message"])
        if event["event"] == "warning" and event["message"].startswith("trains with 1 "):
            shrunk.set()

    started = time.monotonic()
    log = EventLog(store.root / "runs" / "run")
    # Ray starts nodes in the main thread only, so the run is in another.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, plan(store, stages(int(steps))), store, log, watch)
        while not list(store.root.glob("stages/train/*.state")):
            assert not running.done(), running.result().failed
            time.sleep(0.05)
        wait_for_work(store, "train")
        cluster.lose()
        while not shrunk.wait(0.05):
            assert not running.done(), "the run ended before it had fewer workers"
        cluster.join()
        outcome = running.result()
    log.close()
    trained = outcome.artifacts.get("train[1]")
    print(
        "RESULT"
        + json.dumps(
            {
                "failed": outcome.failed,
                "warnings": warnings,
                "workers": [count for _, count in sorted(workers.items())],
                "elapsed_s": time.monotonic() - started,
                "path": str(trained.path) if trained else "",
                "metrics": dict(trained.manifest.metrics) if trained else {},
            }
        )
    )
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
