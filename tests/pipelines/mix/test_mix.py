"""Budgets are whole, exact and possible; phases go on where the one before stopped."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.schema import MixSection, PhaseSection
from infra.context import StageContext
from infra.stage import Stage
from infra.store import Artifact
from pipelines import mix
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.mix.budgets import whole_sequences

LENGTH = 4


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 1000), min_size=1), st.integers(1, 10_000))
def test_budgets_are_exact_in_sum_and_less_than_one_from_each_weight(weights: dict[str, int], total: int) -> None:
    parts = sum(weights.values())
    if not parts:
        return
    budgets = whole_sequences({name: weight / parts for name, weight in weights.items()}, total)
    assert sum(budgets.values()) == total
    for name, weight in weights.items():
        assert abs(budgets[name] - Fraction(weight, parts) * total) < 1 + Fraction(1, 10**6)
        assert weight or not budgets[name]


def test_budgets_of_decimals_are_those_of_the_page() -> None:
    assert whole_sequences({"a": 0.1, "b": 0.2, "c": 0.7}, 10) == {"a": 1, "b": 2, "c": 7}
    assert whole_sequences({"b": 0.5, "a": 0.5}, 3) == {"a": 2, "b": 1}


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Artifact]:
    return {name: packed(tmp_path / name, sequences) for name, sequences in {"code": 30, "sql": 10, "web": 40}.items()}


def packed(folder: Path, sequences: int) -> Artifact:
    write_token_shard(np.zeros((sequences, LENGTH + 1), np.uint16), PIECES.empty_table(), folder, "train", 0)
    TokensIndex(LENGTH, "uint16", 300, 0, 1, {"train": [sequences], "heldout": []}, {}, {}).write(folder)
    return Artifact(folder, manifest=None)


def phase(name: str, sequences: int, weights: dict[str, float]) -> PhaseSection:
    return PhaseSection(name=name, tokens=sequences * LENGTH, weights=weights)


def tokens_stage(name: str) -> Stage:
    return Stage("tokenize", name, 1, {}, {}, lambda context, inputs: {})


def run_phases(phases: list[PhaseSection], corpora: dict[str, Artifact], tmp_path: Path, **section: float) -> list:
    """Plan `phases` one after the other, as the graph would; (plan, metrics) of each."""
    stages = {name: tokens_stage(name) for name in corpora}
    results: list[tuple[PhasePlan, dict]] = []
    previous: Stage | None = None
    inputs = {f"tokens:{name}": artifact for name, artifact in corpora.items()}
    for number, section_of_phase in enumerate(phases, start=1):
        stage = mix.stage(number, section_of_phase, MixSection(**section), LENGTH, stages, previous)
        out = tmp_path / f"mix-{number}"
        out.mkdir()
        metrics = stage.work(StageContext(stage.id, out, tmp_path / "state", [].append), inputs)
        results.append((PhasePlan.read(out), metrics))
        inputs["previous"] = Artifact(out, manifest=None)
        previous = stage
    return results


def test_three_phases_repeat_nothing_within_an_epoch(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [
        phase("one", 20, {"web": 0.75, "code": 0.25}),
        phase("two", 20, {"web": 0.5, "sql": 0.5}),
        phase("three", 20, {"web": 0.25, "code": 0.75, "sql": 0.0}),
    ]
    results = run_phases(phases, corpora, tmp_path)
    read = [item for plan, _ in results for item in plan.sequences(0, plan.num_sequences)]
    assert Counter(corpus for corpus, _ in read) == {"web": 30, "code": 20, "sql": 10}
    assert max(Counter(read).values()) == 1
    starts = {share.corpus: (share.start, share.budget) for share in results[2][0].shares}
    # code had no weight in phase two and sql has none in three: both are carried through
    assert starts == {"code": (5, 15), "sql": (10, 0), "web": (25, 5)}
    assert results[2][1]["data/tokens_code"] == 60
    assert results[2][1]["data/epochs_sql"] == 1.0
    assert results[2][1]["data/epochs_web"] == 0.75


def test_corpora_without_weight_are_no_input_of_a_phase() -> None:
    stages = {name: tokens_stage(name) for name in ("web", "sql")}
    one = mix.stage(1, phase("one", 4, {"web": 1.0, "sql": 0.0}), MixSection(), LENGTH, stages, None)
    assert list(one.inputs) == ["tokens:web"]
    two = mix.stage(1, phase("one", 4, {"web": 1.0}), MixSection(), LENGTH, stages, None)
    assert one.key == two.key
    assert mix.stage(1, phase("one", 5, {"web": 1.0}), MixSection(), LENGTH, stages, None).key != one.key


def test_more_than_max_epochs_is_refused_with_numbers_and_mend(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [phase("one", 12, {"sql": 1.0}), phase("two", 8, {"sql": 0.5, "web": 0.5})]
    with pytest.raises(ValueError, match="phase two asks corpus sql for 4 sequences") as error:
        run_phases(phases, corpora, tmp_path, max_epochs=1.5)
    assert "16 tokens" in str(error.value)
    assert "it has 3 left: 10 sequences, of which earlier phases take 12" in str(error.value)
    assert "raise mix.max_epochs" in str(error.value)


def test_max_epochs_is_reached_exactly(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    plan, metrics = run_phases([phase("one", 15, {"sql": 1.0})], corpora, tmp_path, max_epochs=1.5)[0]
    counts = Counter(sequence for _, sequence in plan.sequences(0, 15))
    assert sorted(counts.values()) == [1] * 5 + [2] * 5
    assert metrics["data/epochs_sql"] == 1.5
