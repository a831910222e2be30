"""CPU time and memory of a stage of very many shards, and of its plan once it is committed, at 1x, 2x and 4x.

    python benchmarks/many_shards.py [--quick]

A shard writes one file of a few bytes, so that the cost is the project's own: a commit per shard, and one manifest that
lists all of them. Each size runs in a process of its own, without a cluster; memory is the growth of its peak. The
store lies in memory where the system has such a folder: a disk takes milliseconds to flush a shard.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from harness import arguments, machine, report

from arctic_model.peak_memory import peak_resident_bytes
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards, shard_key
from infra.plan import plan
from infra.runner import build
from infra.stage import Stage
from infra.store import Store

IN_MEMORY = Path("/dev/shm")
GOAL_GROWTH = 1.2
"""Cost of a shard at 4x over its cost at 1x."""


def write_number(number: int, folder: Path) -> Mapping[str, int]:
    (folder / f"{number:06d}.txt").write_text(str(number), encoding="utf-8")
    return {"documents": 1}


def write_all(num_shards: int, context: StageContext, _inputs: Mapping[str, Artifact]) -> Mapping[str, float]:
    keys = [shard_key(number, {}) for number in range(num_shards)]
    return {"data/shards": float(len(map_shards(context, write_number, range(num_shards), keys=keys)))}


def peak_mb() -> float:
    return peak_resident_bytes() / 2**20


def measure(num_shards: int, folder: Path) -> dict[str, float]:
    """CPU seconds of the stage and of its plan, megabytes that its peak adds, and bytes of its manifest, here."""
    store = Store(folder)
    store.open()
    stage = Stage("source", "web", 1, {}, {}, partial(write_all, num_shards))
    before, started = peak_mb(), time.process_time()
    artifact = build(stage, store, lambda event: None, None)
    built = time.process_time()
    if plan(Store(folder), [stage])[0].action != "reuse":
        raise SystemExit("a committed stage is planned to be built")
    manifest = (artifact.folder / "manifest.json").stat().st_size
    planned = time.process_time() - built
    return {"build": built - started, "plan": planned, "memory": peak_mb() - before, "manifest": manifest}


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
        return
    largest = 8_000 if arguments(__doc__.splitlines()[0]).quick else 100_000
    rows = []
    for num_shards in (largest // 4, largest // 2, largest):
        with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
            command = [sys.executable, __file__, "--measure", str(num_shards), folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append((num_shards, json.loads(done.stdout)))
    print(machine("pyarrow"))
    print("| shards | CPU s | ms a shard | plan, CPU s | memory, MB | manifest, MB |\n|---|---|---|---|---|---|")
    for num_shards, row in rows:
        cost = row["build"] / num_shards * 1e3
        sizes = f"{row['memory']:.0f} | {row['manifest'] / 1e6:.1f}"
        print(f"| {num_shards:,} | {row['build']:.1f} | {cost:.2f} | {row['plan']:.2f} | {sizes} |")
    costs = [row["build"] / num_shards for num_shards, row in rows]
    report("many_shards", costs[-1] * 1e3, {}, "CPU ms a shard", costs[-1] / costs[0], f"at most {GOAL_GROWTH} x at 4x")


if __name__ == "__main__":
    main()
