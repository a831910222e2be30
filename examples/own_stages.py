"""Run a graph of your own stages, durably: nothing here knows about language models.

    python examples/own_stages.py [STORE]

A result is named by its stage's name, version, params and inputs. Change one of these and only that stage and those
that depend on it are built again.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra import Artifact, ShardResult, Stage, StageContext, map_shards, run


def count_primes(limit: int, folder: Path) -> ShardResult:
    """One shard, in a separate process."""
    primes = [number for number in range(2, limit) if all(number % divisor for divisor in range(2, number))]
    (folder / f"{limit}.txt").write_text("\n".join(map(str, primes)))
    return ShardResult({"primes": len(primes)})


def primes(context: StageContext, inputs: Mapping[str, Artifact]) -> dict[str, float]:
    """Spread shards over the cluster; a shard that is finished is not done again after a kill."""
    shards = map_shards(context, count_primes, [100, 1000])
    return {"primes": float(max(shard.metrics["primes"] for shard in shards))}


def largest(context: StageContext, inputs: Mapping[str, Artifact]) -> dict[str, float]:
    numbers = (inputs["primes"].path / "1000.txt").read_text().split()
    (context.out / "largest.txt").write_text(numbers[-1])
    return {"largest": float(numbers[-1])}


def main(store: Path) -> None:
    stages = [Stage("largest", inputs={"primes": Stage("primes", work=primes)}, work=largest)]
    for _ in range(2):
        result = run(stages, store, on_event=print_warning)
        for name, stage in result.stages.items():
            print(f"{name}: {stage.status}, {dict(stage.metrics)}, error={stage.error!r}")


def print_warning(event: dict[str, object]) -> None:
    if event["event"] == "warning":
        print(f"warning: {event['message']}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "store")
