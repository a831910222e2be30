"""The victim: source, dedup, tokenize, mix and training, small enough to be killed and repeated for hours.

python -m tests.chaos.chain STORE inline|ray
"""

import hashlib
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data_recipes.sections.training import TrainSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.fanout import map_shards
from infra.plan import plan
from infra.session import RunInfo, execute
from infra.stage import Stage
from infra.store import Store

SHARDS = 12
SHARD_BYTES = 20_000
SHARD_S = 0.25
STEPS = 80
SECTION = {
    "global_batch_sequences": 4,
    "micro_batch_sequences": 2,
    "peak_lr": 0.003,
    "checkpoint_every_steps": 4,
    "cpus_per_worker": 1.0,
}


def fetch(number: int, folder: Path) -> dict[str, int]:
    """A shard of bytes that follow from its number."""
    time.sleep(SHARD_S)
    pieces = [hashlib.sha256(f"{number}:{index}".encode()).digest() for index in range(SHARD_BYTES // 32)]
    (folder / f"{number:03d}.bin").write_bytes(b"".join(pieces))
    return {"bytes": SHARD_BYTES}


def halve(source: Path, number: int, folder: Path) -> dict[str, int]:
    time.sleep(SHARD_S)
    content = (source / f"{number:03d}.bin").read_bytes()
    (folder / f"{number:03d}.bin").write_bytes(content[::2])
    return {"bytes": len(content) // 2}


def source(context: StageContext, _inputs: Any) -> dict[str, float]:
    return {"data/shards": float(len(map_shards(context, fetch, range(SHARDS), num_cpus=0.5)))}


def dedup(context: StageContext, inputs: dict[str, Artifact]) -> dict[str, float]:
    work = partial(halve, inputs["source"].path)
    return {"data/shards": float(len(map_shards(context, work, range(SHARDS), num_cpus=0.5)))}


def tokenize(context: StageContext, inputs: dict[str, Artifact]) -> dict[str, float]:
    """Sequences that follow from the bytes before."""
    from tests.pipelines.train.conftest import write_corpus

    content = b"".join(file.read_bytes() for file in sorted(inputs["dedup"].path.glob("*.bin")))
    write_corpus(context.out, int.from_bytes(hashlib.sha256(content).digest()[:4], "big"))
    return {}


def mix(steps: int, context: StageContext, _inputs: Any) -> dict[str, float]:
    from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
    from tests.pipelines.train.conftest import LENGTH, SEQUENCES

    budget = steps * int(SECTION["global_batch_sequences"])
    PhasePlan.of("one", LENGTH, 0, (CorpusShare("web", budget, 0, SEQUENCES),)).write(context.out)
    return {}


def chain(steps: int = STEPS, **fields: Any) -> list[Stage]:
    """The stages, inputs first; training takes this many steps, with other `fields` of SECTION."""
    from arctic_model.presets import preset
    from pipelines import train

    fetched = Stage("source", "web", work=source)
    unique = Stage("dedup", "web", inputs={"source": fetched}, work=dedup)
    tokens = Stage("tokenize", "web", inputs={"dedup": unique}, work=tokenize)
    mixed = Stage("mix", "1", params={"steps": steps}, inputs={"tokens:web": tokens}, work=partial(mix, steps))
    schedule = {"warmup_tokens": 128, "decay_start_tokens": None, "decay_end_tokens": None}
    settings = [train.SegmentSettings(0, 0, TrainSection(**SECTION | fields), schedule)]
    inputs = train.TrainInputs(mixed, {"web": tokens}, None)
    return [fetched, unique, tokens, mixed, train.stage(1, settings, preset("tiny").to_dict(), inputs)]


def inline(stages: list[Stage]) -> list[Stage]:
    """The same stages, built without a cluster by the process that runs them."""
    done: dict[str, Stage] = {}
    for stage in stages:
        inputs = {name: done[upstream.key] for name, upstream in stage.inputs.items()}
        done[stage.key] = replace(stage, inputs=inputs, inline=True)
    return list(done.values())


def main(location: str, mode: str) -> int:
    stages = inline(chain()) if mode == "inline" else chain()
    with Store(location).writing() as store:
        result = execute(plan(store, stages), store, RunInfo("chaos"))
    for stage, error in result.failed.items():
        print(f"FAILED {stage}: {error}", flush=True)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
