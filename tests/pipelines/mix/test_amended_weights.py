"""Weights that change within a phase: read data stays, the rest is planned again, and nothing is counted twice."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_recipes import RecipeError, RunRecipe
from data_recipes.sections.curriculum import PhaseSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from pipelines import mix
from pipelines.artifacts.sequence_order.phase_plan import PhaseOrder
from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.mix import Lengths, MixInputs
from pipelines.mix.from_recipe import simulate
from tests.kit.stages import committed, idle_stage

LENGTH, PER_STEP = 8, 4  # as in run_recipe
SIZES = {"code": 60, "sql": 25, "web": 200}
PHASES = [
    PhaseSection(name="one", tokens=20 * PER_STEP * LENGTH, weights={"code": 0.25, "web": 0.75}),
    PhaseSection(name="two", tokens=10 * PER_STEP * LENGTH, weights={"code": 0.5, "sql": 0.5}),
]
AMENDMENT = {"from_step": 12, "weights": {"sql": 0.5, "web": 0.5}}
MOVING = {"from_step": 5, "weights": {"code": 1.0}, "weights_to": {"web": 1.0}}


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Artifact]:
    inputs = {}
    for name, size in SIZES.items():
        write_token_shard(np.zeros((size, LENGTH + 1), np.uint16), PIECES.empty_table(), tmp_path / name, "train", 0)
        TokensIndex(LENGTH, "uint16", 300, 0, 1, {"train": [size], "heldout": []}, {}, {}).write(tmp_path / name)
        inputs[f"tokens:{name}"] = committed(tmp_path / name)
    return inputs


def stages_of(run: RunRecipe) -> list[Stage]:
    """The orders of the phases, each after the previous one."""
    tokens = {name: idle_stage("tokenize", name) for name in SIZES}
    made: list[Stage] = []
    for number, phase in enumerate(run.phases, start=1):
        amendments = [segment.data for segment in run.segments[number - 1] if segment.data]
        inputs = MixInputs(tokens, previous=made[-1] if made else None)
        made.append(mix.stage(number, phase, run.mix, Lengths(LENGTH, LENGTH), inputs, amendments))
    return made


def orders(run: RunRecipe, corpora: dict[str, Artifact], home: Path) -> tuple[list[PhaseOrder], list[dict]]:
    inputs, result, metrics = dict(corpora), [], []
    for stage in stages_of(run):
        out = home / f"mix-{stage.subject}"
        out.mkdir(parents=True)
        metrics.append(dict(stage.work(StageContext(stage.id, out, home, [].append), inputs)))
        inputs["previous"] = committed(out)
        result.append(PhaseOrder.read(out))
    return result, metrics


def read(order: PhaseOrder) -> list[tuple[str, int]]:
    """Corpus and sequence at each position of a phase."""
    read = []
    for part in order.parts:
        columns = part.plan.sequences(0, part.num_sequences)
        read += [
            (part.plan.shares[corpus].corpus, number)
            for corpus, number in zip(*map(np.ndarray.tolist, columns), strict=True)
        ]
    return read


def amended(run_recipe, *amendments: dict, **fields: object) -> RunRecipe:
    recipe = run_recipe(PHASES, **fields).model_dump(exclude_unset=True)
    return RunRecipe.model_validate(recipe | {"amendments": list(amendments)})


def test_what_was_read_stays_and_the_rest_has_the_new_weights(run_recipe, corpora: dict, tmp_path: Path) -> None:
    """Of 80 sequences 48 are read in 12 steps; 16 of each corpus are left."""
    plain, _ = orders(run_recipe(PHASES), corpora, tmp_path / "plain")
    changed, metrics = orders(amended(run_recipe, AMENDMENT), corpora, tmp_path / "changed")
    before, after = read(plain[0]), read(changed[0])
    assert len(after) == len(before) == 80
    assert after[:48] == before[:48]
    assert Counter(corpus for corpus, _ in after[:48]) == {"code": 12, "web": 36}
    assert Counter(corpus for corpus, _ in after[48:]) == {"sql": 16, "web": 16}
    assert changed[0].budgets == {"code": 12, "sql": 16, "web": 52}
    assert {name: metrics[0][f"data/tokens_{name}"] for name in SIZES} == {"code": 96, "sql": 128, "web": 416}


def test_no_sequence_is_read_twice_within_an_epoch(run_recipe, corpora: dict, tmp_path: Path) -> None:
    """Of SQL 16 sequences are read in the first phase and 20 in the second, of 25; of the others less than a pass."""
    result, metrics = orders(amended(run_recipe, AMENDMENT), corpora, tmp_path)
    counts = Counter(item for order in result for item in read(order))
    assert {corpus for (corpus, _), count in counts.items() if count > 1} == {"sql"}
    assert sum(count - 1 for (corpus, _), count in counts.items() if corpus == "sql") == 36 - 25
    assert {share.corpus: share.start for share in result[1].parts[0].plan.shares} == {"code": 12, "sql": 16, "web": 52}
    assert metrics[1]["data/epochs_sql"] == 36 / 25


def test_a_phase_may_be_amended_twice_with_weights_that_move(run_recipe, corpora: dict, tmp_path: Path) -> None:
    """From position 20 on code gives way to the web, evenly; 28 of these 60 are read, then the rest has a budget."""
    (result, _), _ = orders(amended(run_recipe, MOVING, AMENDMENT), corpora, tmp_path)
    assert [(part.first_position, part.num_sequences) for part in result.parts] == [(0, 20), (20, 28), (48, 32)]
    moving = [corpus for corpus, _ in read(result)[20:48]]
    for prefix in range(1, 29):
        assert abs(moving[:prefix].count("code") - (prefix - prefix**2 / 120)) < 1.5
    assert Counter(corpus for corpus, _ in read(result)[48:]) == {"sql": 16, "web": 16}


def test_the_simulation_reads_what_the_run_reads(run_recipe, corpora: dict, tmp_path: Path) -> None:
    run = amended(run_recipe, MOVING, AMENDMENT)
    result, metrics = orders(run, corpora, tmp_path)
    simulated = simulate(run, SIZES).phases
    parts = [part for order in result for part in order.parts]
    assert [(each.first_step, each.last_step) for each, _ in simulated] == [(1, 5), (6, 12), (13, 20), (21, 30)]
    for (each, corpora_of_phase), part in zip(simulated, parts, strict=True):
        assert each.plan == part.plan
        assert each.read == part.read
        assert {corpus.corpus: corpus.tokens for corpus in corpora_of_phase} == {
            share.corpus: share.budget * LENGTH for share in part.read if share.budget
        }
    assert {corpus.corpus: corpus.epochs for corpus in simulated[-1][1]}["sql"] == metrics[-1]["data/epochs_sql"]


def test_a_rest_that_asks_for_too_much_is_refused_with_the_step(run_recipe, corpora: dict, tmp_path: Path) -> None:
    run = amended(run_recipe, {"from_step": 10, "weights": {"sql": 1.0}}, max_epochs=1.5)
    message = r"phase one after step 10 asks corpus sql for 40 sequences .* it has 37 left"
    with pytest.raises(RecipeError, match=message):
        mix.check_budgets(run, SIZES)
    with pytest.raises(ValueError, match=message):
        orders(run, corpora, tmp_path)
    mix.check_budgets(amended(run_recipe, {"from_step": 11, "weights": {"sql": 1.0}}, max_epochs=2.3), SIZES)


def test_only_the_amended_phase_and_those_after_it_are_planned_anew(run_recipe) -> None:
    plain, first, second = (
        [stage.key for stage in stages_of(run)]
        for run in (
            run_recipe(PHASES),
            amended(run_recipe, AMENDMENT),
            amended(run_recipe, {"from_step": 25, "weights": {"web": 1.0}}),
        )
    )
    assert first[0] != plain[0]
    assert first[1] != plain[1]
    assert second[0] == plain[0]
    assert second[1] != plain[1]
    assert stages_of(amended(run_recipe, {"from_step": 12, "train": {"peak_lr": 0.5}}))[0].key == plain[0]
