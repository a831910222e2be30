"""A request to stop ends each stage that maps shards before its next shard, and nothing is done twice."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from infra.artifact import Artifact
from infra.budget import StoppedError
from infra.context import STOP, StageContext
from infra.fanout import RESULT
from infra.stage import Stage, topological_order
from pipelines import Recipe
from tests.kit.stages import committed

ROOT = Path(__file__).parents[2]
TEXT = "the river of time and a town that has to be with its people when they have water at the bridge"
WORDS = TEXT.split(" ")
RUN: dict[str, Any] = {
    "name": "tiny",
    "description": "",
    "tokenizer": {"vocab_size": 300, "sample_bytes_per_corpus": 1000},
    "tokenize": {"sequence_length": 1024},
    "phases": [
        {"name": "short", "tokens": 8192, "weights": {"web": 1.0}},
        {"name": "long", "tokens": 8192, "weights": {"web": 1.0}, "sequence_length": 2048},
    ],
    "model": {"preset": "tiny", "overrides": {"max_positions": 2048}},
    "train": {"global_batch_sequences": 4, "micro_batch_sequences": 4, "peak_lr": 0.001},
    "evaluate": {"heldout_bytes_per_corpus": 1000},
    "finetune": [{"name": "instruct", "from": "long", "epochs": {"chat": 2.0}, "peak_lr": 0.0001}],
}
CHAT = {"kind": "text_to_sql_chat", "num_schemas": 40, "pairs_per_schema": 2, "seed": 1}


@pytest.fixture
def stages(tmp_path: Path) -> list[Stage]:
    """The stages of a run that map shards, inputs first."""
    draw = random.Random(3)
    texts = [" ".join(draw.choices(WORDS, k=90)) for _ in range(30)]
    files = [f"{number}.jsonl" for number in range(2)]
    for file in files:
        (tmp_path / file).write_text("".join(json.dumps({"text": draw.choice(texts)}) + "\n" for _ in range(20)))
    web = {"kind": "jsonl", "paths": [str(tmp_path / file) for file in files]}
    free = {"min_stop_words": 0, "max_top_2gram_fraction": 1.0}
    pages = [
        {"name": "web", "description": "", "source": {"inputs": [web]}, "filter": free},
        {"name": "chat", "description": "", "source": {"inputs": [CHAT]}},
    ]
    graph = Recipe.of(RUN, *pages).graph()
    return [stage for stage in topological_order(graph.stages) if module(stage) in mapping()]


def module(stage: Stage) -> str:
    work: Any = stage.work
    return getattr(work, "func", work).__module__


def mapping() -> set[str]:
    """The modules of stages that map shards."""
    files = (file for file in ROOT.glob("pipelines/**/*.py") if "map_shards(" in file.read_text())
    return {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}


class Stopping:
    """Takes the events of an attempt, and asks for its stop once the attempt has finished a shard."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._before = self.finished

    @property
    def finished(self) -> set[Path]:
        """The shards that are finished, of all attempts."""
        return {file.parent for file in self._state.rglob(RESULT) if not file.parent.name.startswith(".")}

    @property
    def num_new(self) -> int:
        return len(self.finished - self._before)

    def __call__(self, event: object) -> None:
        if self.num_new:
            (self._state / STOP).write_text("enough")


def attempt(stage: Stage, folder: Path, made: dict[str, Artifact], emit: Any) -> Artifact:
    """The files of an attempt, whose state is `folder.state`."""
    folder.mkdir(parents=True)
    stage.work(
        StageContext(stage.id, folder, folder.with_suffix(".state"), emit),
        {name: made[each.key] for name, each in stage.inputs.items()},
    )
    return committed(folder)


def test_each_stage_stops_before_its_next_shard_and_goes_on_with_the_same_files(
    stages: list[Stage], tmp_path: Path
) -> None:
    assert {module(stage) for stage in stages} == mapping()
    made: dict[str, Artifact] = {}
    for stage in stages:
        made[stage.key] = attempt(stage, tmp_path / stage.key, made, [].append)
        attempts = stopped_attempts(stage, tmp_path / f"{stage.key}-stopped", made)
        assert attempts == len(list((tmp_path / f"{stage.key}.state").rglob(RESULT))), stage.id


def stopped_attempts(stage: Stage, home: Path, made: dict[str, Artifact]) -> int:
    """Attempts until the stage is done, if each is asked to stop after a shard."""
    state = home / "attempt.state"
    state.mkdir(parents=True)
    for number in range(1, 1000):
        (state / STOP).unlink(missing_ok=True)
        watch = Stopping(state)
        try:
            result = attempt(stage, home / "attempt", made, watch)
        except StoppedError as error:
            assert str(error) == "enough"
            assert watch.num_new == 1, f"{stage.id} did {watch.num_new} shards"
            (home / "attempt").rename(home / f"{number}")
            continue
        assert watch.num_new <= 1, f"{stage.id} did {watch.num_new} shards"
        assert result.manifest.digests() == made[stage.key].manifest.digests(), stage.id
        return number
    raise AssertionError(f"{stage.id} has no end")
