"""CPU time of planning a graph whose results are all committed, at 1x, 2x and 4x its size.

    python benchmarks/planning.py [--quick]

Stages form chains of seven, as those of a corpus do, each with a file as its result; a last stage takes all chains.
The graph is built, and every stage of it looked up in the store, by a process that has just started; the packages'
import is not counted. One more column holds the files that the store has after it.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness import arguments, machine, report

from infra.artifact import Artifact
from infra.context import StageContext
from infra.plan import plan
from infra.runner import build
from infra.stage import Stage
from infra.store import Store

STEPS = ("source", "score", "filter", "dedup", "tokenize", "mix", "train")
GOAL_S = 1.0
REPEATS = 3


def write_file(context: StageContext, artifacts: Mapping[str, Artifact]) -> Mapping[str, float]:
    (context.out / "result.txt").write_text(context.stage_id, encoding="utf-8")
    return {"inputs": float(len(artifacts))}


def graph(num_stages: int) -> Stage:
    """The last stage of a graph of about this many."""
    ends: dict[str, Stage] = {}
    for chain in range(num_stages // len(STEPS)):
        inputs: dict[str, Stage] = {}
        for step in STEPS:
            inputs = {"input": Stage(step, f"corpus-{chain}", 1, {"chain": chain}, inputs, write_file)}
        ends[f"corpus-{chain}"] = inputs["input"]
    return Stage("report", "all", 1, {}, ends, write_file)


def commit_all(last: Stage, store: Store) -> None:
    committed: dict[str, Artifact] = {}

    def commit(stage: Stage) -> Artifact:
        if stage.key not in committed:
            inputs = [commit(each) for each in stage.inputs.values()]
            committed[stage.key] = build(stage, store, lambda event: None, None, *inputs)
        return committed[stage.key]

    commit(last)


def measure(num_stages: int, folder: Path) -> dict[str, float]:
    """CPU seconds of the graph and its plan, here."""
    started = time.process_time()
    planned = plan(Store(folder), [graph(num_stages)])
    seconds = time.process_time() - started
    if any(stage.action == "build" for stage in planned):
        raise SystemExit("a committed stage is planned to be built")
    return {"stages": len(planned), "seconds": seconds}


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
        return
    largest = 2_000 if arguments(__doc__.splitlines()[0]).quick else 10_000
    rows = []
    for num_stages in (largest // 4, largest // 2, largest):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            store.open()
            commit_all(graph(num_stages), store)
            command = [sys.executable, __file__, "--measure", str(num_stages), folder]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for _ in range(REPEATS)
            ]
            files = sum(file.is_file() for file in Path(folder).rglob("*"))
        seconds = sorted(run["seconds"] for run in runs)
        rows.append((runs[0]["stages"], seconds[REPEATS // 2], seconds[-1] - seconds[0], files))
    print(machine("pydantic"))
    print("| stages | CPU s | slowest minus fastest of 3 | ms a stage | files |\n|---|---|---|---|---|")
    for stages, median, deviation, files in rows:
        print(f"| {stages:,} | {median:.2f} | {deviation:.2f} | {median / stages * 1e3:.3f} | {files:,} |")
    report("planning", rows[-1][1], {}, "CPU s", rows[-1][1] / GOAL_S, f"10,000 committed stages in {GOAL_S:.0f} s")


if __name__ == "__main__":
    main()
