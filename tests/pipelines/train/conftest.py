"""A small corpus of packed tokens and phases over it, as the stages before `train` leave them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from arctic_model.presets import preset
from data_recipes.sections.training import TrainSection
from infra.artifact import Artifact
from infra.context import Event, StageContext
from infra.stage import Stage
from pipelines import train
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.tokenization.tokens import TokensIndex, write_token_shard
from tests.kit.files import artifact

LENGTH, SEQUENCES, VOCABULARY = 16, 24, 384
SECTION = {
    "global_batch_sequences": 4,
    "micro_batch_sequences": 2,
    "peak_lr": 0.003,
    "checkpoint_every_steps": 4,
}
SCHEDULE = {"warmup_tokens": 128, "decay_start_tokens": None, "decay_end_tokens": None}


def write_corpus(
    folder: Path, seed: int, vocabulary: int = VOCABULARY, length: int = LENGTH, token: int | None = None
) -> None:
    """Sequences of two documents and two ids of padding; each with `token` at index 5, if it is given."""
    rows = np.random.default_rng(seed).integers(2, 50, (SEQUENCES, length + 1)).astype(np.uint16)
    pieces = {
        "sequence": np.repeat(np.arange(SEQUENCES), 2),
        "start": [0, 9] * SEQUENCES,
        "length": [9, length + 1 - 9 - 2] * SEQUENCES,
        "doc_id": ["a", "b"] * SEQUENCES,
        "doc_start": [0, 0] * SEQUENCES,
        "doc_row": [0, 1] * SEQUENCES,
    }
    rows[:, -2:] = 1
    if token is not None:
        rows[:, 5] = token
    write_token_shard(rows, pa.table(pieces), folder, "train", 0)
    index = TokensIndex(length, "uint16", vocabulary, 0, 1, {"train": [SEQUENCES]}, {"train": 1}, {"train": 1})
    index.write(folder)


@dataclass
class Workshop:
    """Runs phases of training in `home`. `steps` per phase; corpora "code" and "web" in equal parts."""

    home: Path
    events: list[Event] = field(default_factory=list)
    steps: dict[int, int] = field(default_factory=dict)

    def inputs(self, number: int, steps: int = 10, previous: Path | None = None) -> dict[str, Artifact]:
        for seed, corpus in enumerate(("code", "web")):
            if not (self.home / corpus).exists():
                (self.home / corpus).mkdir(parents=True)
                write_corpus(self.home / corpus, seed)
        self.steps[number] = steps
        mix = self.home / f"mix-{number}"
        mix.mkdir(exist_ok=True)
        budget = steps * SECTION["global_batch_sequences"] // 2
        shares = tuple(CorpusShare(corpus, budget, (number - 1) * budget, SEQUENCES) for corpus in ("code", "web"))
        PhasePlan(f"phase {number}", LENGTH, 0, shares, ((0, 0),)).write(mix)
        result = {"mix": mix, "tokens:code": self.home / "code", "tokens:web": self.home / "web"}
        if previous:
            result["previous"] = previous
        return {name: artifact(path) for name, path in result.items()}

    def plant(self, corpus: str, token: int) -> None:
        """Write the corpus again with `token` in each sequence."""
        write_corpus(self.home / corpus, 1, token=token)

    def stage(
        self,
        number: int = 1,
        model: dict | None = None,
        schedule: dict | None = None,
        initial: train.PinnedWeights | None = None,
        amendments: Mapping[int, dict] | None = None,
        **section: Any,
    ) -> Stage:
        """Phase `number`, after phases of the steps that `inputs` was asked for; `amendments` are fields by step."""
        first_step = sum(self.steps.get(before, 10) for before in range(1, number))
        fields, settings = SECTION | section, []
        tokens, before = first_step * fields["global_batch_sequences"] * LENGTH, first_step
        for step, changes in {first_step: {}, **(amendments or {})}.items():
            tokens += (step - before) * fields["global_batch_sequences"] * LENGTH
            fields, before = fields | changes, step
            settings.append(train.SegmentSettings(step, tokens, TrainSection(**fields), SCHEDULE | (schedule or {})))
        upstream = Stage("mix", str(number), 1, {}, {}, work=unused)
        tokens = {name: Stage("tokenize", name, 1, {}, {}, work=unused) for name in ("code", "web")}
        return train.stage(
            number,
            settings,
            preset("tiny", model).to_dict(),
            train.TrainInputs(upstream, tokens, upstream if number > 1 and initial is None else None),
            initial,
        )

    def run(
        self, name: str, inputs: dict[str, Artifact], stage: Stage, *, parallel: bool = False
    ) -> tuple[Path, dict[str, float]]:
        """The output folder, which is new, and the metrics; the state folder stays from attempt to attempt."""
        attempt = len(list(self.home.glob(f"{name}-out-*")))
        out, state = self.home / f"{name}-out-{attempt}", self.home / f"{name}-state"
        out.mkdir()
        state.mkdir(exist_ok=True)
        context = StageContext(stage.id, out, state, self.events.append, parallel)
        return out, dict(stage.work(context, inputs))

    def points(self) -> list[tuple[int, dict[str, float]]]:
        return [tuple(point) for event in self.events if event["event"] == "metrics" for point in event["points"]]


def unused(*_: Any) -> dict[str, float]:
    raise AssertionError("an input stage does not run here")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def workshops(tmp_path: Path) -> Callable[[str], Workshop]:
    """Workshops that share nothing."""
    return lambda name: Workshop(tmp_path / name)
