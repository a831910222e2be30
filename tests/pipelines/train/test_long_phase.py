"""A phase whose sequences are longer than those before, with positions scaled for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arctic_model.checkpoint.reading import Checkpoint
from infra.artifact import Artifact
from infra.store.files import file_digest
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from tests.kit.interruption import interrupted_before
from tests.pipelines.train.conftest import LENGTH, SECTION, SEQUENCES, Workshop, artifact, write_corpus

LONGER = 4 * LENGTH
ROPE: dict[str, dict[str, Any]] = {
    "abf": {"rope_theta": 50_000.0},
    "yarn": {"yarn_factor": 4.0, "yarn_original_positions": LENGTH},
    "unscaled": {},
}


def longer(inputs: dict[str, Artifact], home: Path) -> dict[str, Artifact]:
    """The inputs of phase 2 with sequences of LONGER tokens."""
    for seed, corpus in enumerate(("code", "web")):
        write_corpus(home / f"{corpus}-long", seed, length=LONGER)
    budget = 10 * SECTION["global_batch_sequences"] // 2
    shares = tuple(CorpusShare(corpus, budget, 0, SEQUENCES) for corpus in ("code", "web"))
    PhasePlan("phase 2", LONGER, 0, shares, ((0, 0),)).write(home / "mix-2")
    return inputs | {f"tokens:{corpus}": artifact(home / f"{corpus}-long") for corpus in ("code", "web")}


def trained(workshop: Workshop, rope: dict[str, Any], stopped_at: int | None = None, **layout: Any) -> Path:
    first, _ = workshop.run("short", workshop.inputs(1), workshop.stage(1))
    inputs = longer(workshop.inputs(2, previous=first), workshop.home)
    stage = workshop.stage(2, model=rope, **layout)
    if stopped_at:
        with interrupted_before(stopped_at):
            workshop.run("long", inputs, stage)
    return workshop.run("long", inputs, stage)[0]


@pytest.mark.parametrize("rope", ROPE.values(), ids=ROPE)
def test_weights_go_on_with_other_positions(workshop: Workshop, rope: dict[str, Any]) -> None:
    out = trained(workshop, rope)
    config = Checkpoint(out / "checkpoint").config
    assert {name: getattr(config, name) for name in rope} == rope


def test_the_spike_guard_compares_norms_of_one_length(workshop: Workshop) -> None:
    out = trained(workshop, ROPE["unscaled"])
    norms = pq.read_table(out / "history.parquet")["gradient_norm"].to_pylist()
    assert Checkpoint(out / "checkpoint").state.gradient_norms == norms


def test_the_spike_guard_goes_on_in_a_phase_like_the_one_before(workshop: Workshop) -> None:
    first, _ = workshop.run("first", workshop.inputs(1), workshop.stage(1))
    second, _ = workshop.run("second", workshop.inputs(2, previous=first), workshop.stage(2))
    norms = [pq.read_table(out / "history.parquet")["gradient_norm"].to_pylist() for out in (first, second)]
    assert Checkpoint(second / "checkpoint").state.gradient_norms == [*norms[0], *norms[1]]


def test_a_kill_within_the_long_phase_gives_the_same_bytes(workshops: Callable[[str], Workshop]) -> None:
    expected, result = (trained(workshops(name), ROPE["yarn"], stop) for name, stop in (("calm", None), ("killed", 17)))
    digests = [
        {str(file.relative_to(out)): file_digest(file) for file in out.rglob("*") if file.is_file()}
        for out in (expected, result)
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_workers_that_share_the_longer_sequences_train_what_one_trains(workshops: Callable[[str], Workshop]) -> None:
    shared = {"num_workers": 2, "context_parallel_size": 2, "cpus_per_worker": 0.5}
    losses = []
    for name, layout in (("one", {}), ("two", shared)):
        out = trained(workshops(name), ROPE["yarn"], **layout)
        losses.append(pq.read_table(out / "history.parquet")["loss"].to_pylist())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
