"""Budgets are whole, exact and possible; phases continue from the end of the previous one."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes import RecipeError
from data_recipes.sections.curriculum import MixSection, PhaseSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Stage
from pipelines import mix
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.mix import Lengths, MixInputs
from pipelines.mix.budgets import PhaseBudget, in_length, phase_shares, whole_sequences
from pipelines.mix.from_recipe import phase_budgets
from tests.kit.stages import committed, idle_stage

LENGTH = 4
LENGTHS = Lengths(LENGTH, LENGTH)


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
    return committed(folder)


def phase(name: str, sequences: int, weights: dict[str, float], **fields: object) -> PhaseSection:
    return PhaseSection(name=name, tokens=sequences * LENGTH, weights=weights, **fields)


def whole(section: PhaseSection, length: int = LENGTH) -> PhaseBudget:
    return phase_budgets(section, (), length)[0]


def read(plan: PhasePlan) -> list[tuple[str, int]]:
    corpora, sequences = plan.sequences(0, plan.num_sequences)
    return [
        (plan.shares[corpus].corpus, sequence) for corpus, sequence in zip(corpora, sequences.tolist(), strict=True)
    ]


def tokens_stage(name: str) -> Stage:
    return idle_stage("tokenize", name)


def run_phases(phases: list[PhaseSection], corpora: dict[str, Artifact], tmp_path: Path, **section: float) -> list:
    """Plan `phases` one after the other, as the graph would; (plan, metrics) of each."""
    stages = {name: tokens_stage(name) for name in corpora}
    results: list[tuple[PhasePlan, dict]] = []
    previous: Stage | None = None
    inputs = {f"tokens:{name}": artifact for name, artifact in corpora.items()}
    for number, section_of_phase in enumerate(phases, start=1):
        stage = mix.stage(
            number, section_of_phase, MixSection(**section), LENGTHS, MixInputs(stages, previous=previous)
        )
        out = tmp_path / f"mix-{number}"
        out.mkdir()
        metrics = stage.work(StageContext(stage.id, out, tmp_path / "state", [].append), inputs)
        results.append((PhasePlan.read(out), metrics))
        inputs["previous"] = committed(out)
        previous = stage
    return results


def test_three_phases_repeat_nothing_within_an_epoch(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [
        phase("one", 20, {"web": 0.75, "code": 0.25}),
        phase("two", 20, {"web": 0.5, "sql": 0.5}),
        phase("three", 20, {"web": 0.25, "code": 0.75, "sql": 0.0}),
    ]
    results = run_phases(phases, corpora, tmp_path)
    record = [item for plan, _ in results for item in read(plan)]
    assert Counter(corpus for corpus, _ in record) == {"web": 30, "code": 20, "sql": 10}
    assert max(Counter(record).values()) == 1
    starts = {share.corpus: (share.start, share.budget) for share in results[2][0].shares}
    # code had no weight in phase two and sql has none in three: both are carried through
    assert starts == {"code": (5, 15), "sql": (10, 0), "web": (25, 5)}
    assert results[2][1]["data/tokens_code"] == 60
    assert results[2][1]["data/epochs_sql"] == 1.0
    assert results[2][1]["data/epochs_web"] == 0.75


def test_corpora_without_weight_are_no_input_of_a_phase() -> None:
    stages = {name: tokens_stage(name) for name in ("web", "sql")}
    one = mix.stage(1, phase("one", 4, {"web": 1.0, "sql": 0.0}), MixSection(), LENGTHS, MixInputs(stages))
    assert list(one.inputs) == ["tokens:web"]
    two = mix.stage(1, phase("one", 4, {"web": 1.0}), MixSection(), LENGTHS, MixInputs(stages))
    assert one.key == two.key
    assert mix.stage(1, phase("one", 5, {"web": 1.0}), MixSection(), LENGTHS, MixInputs(stages)).key != one.key


def test_more_than_max_epochs_is_refused_with_numbers_and_mend(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [phase("one", 12, {"sql": 1.0}), phase("two", 8, {"sql": 0.5, "web": 0.5})]
    with pytest.raises(ValueError, match="phase two asks corpus sql for 4 sequences") as error:
        run_phases(phases, corpora, tmp_path, max_epochs=1.5)
    assert "16 tokens" in str(error.value)
    assert "it has 3 left: 10 sequences, of which earlier phases take 12" in str(error.value)
    assert "raise mix.max_epochs" in str(error.value)


def test_max_epochs_is_reached_exactly(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    plan, metrics = run_phases([phase("one", 15, {"sql": 1.0})], corpora, tmp_path, max_epochs=1.5)[0]
    counts = Counter(sequence for _, sequence in read(plan))
    assert sorted(counts.values()) == [1] * 5 + [2] * 5
    assert metrics["data/epochs_sql"] == 1.5


def test_epochs_may_be_limited_for_a_corpus_of_its_own(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [phase("one", 15, {"sql": 1.0})]
    with pytest.raises(ValueError, match="raise mix.max_epochs_per_corpus.sql"):
        run_phases(phases, corpora, tmp_path, max_epochs=4.0, max_epochs_per_corpus={"sql": 1.0})
    (tmp_path / "mix-1").rmdir()
    run_phases(phases, corpora, tmp_path, max_epochs=1.0, max_epochs_per_corpus={"sql": 1.5})


def test_a_raised_limit_leaves_what_is_planned() -> None:
    stages = {"web": tokens_stage("web")}
    keys = [
        mix.stage(1, phase("one", 4, {"web": 1.0}), MixSection(max_epochs=most), LENGTHS, MixInputs(stages)).key
        for most in (1.0, 4.0)
    ]
    assert keys[0] == keys[1]


def test_budgets_may_be_given_as_tokens_per_corpus() -> None:
    provided = PhaseSection.model_validate({"name": "one", "tokens_per_corpus": {"web": 28, "sql": 12, "code": 0}})
    assert provided.tokens == 40
    shares = phase_shares(whole(provided), {"web": 50, "sql": 50}, ())
    assert [(share.corpus, share.budget) for share in shares] == [("sql", 3), ("web", 7)]


weight_pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=6).filter(
    lambda pairs: all(sum(column) for column in zip(*pairs, strict=True))
)


@given(weight_pairs, st.integers(1, 400))
def test_moving_weights_begin_and_end_where_the_page_says(pairs: list[tuple[int, int]], count: int) -> None:
    first, last = (np.array(column) / sum(column) for column in zip(*pairs, strict=True))
    names = "abcdef"[: len(pairs)]
    moving = PhaseSection(
        name="drift",
        tokens=count * LENGTH,
        weights=dict(zip(names, first.tolist(), strict=True)),
        weights_to=dict(zip(names, last.tolist(), strict=True)),
    )
    shares = {share.corpus: share for share in phase_shares(whole(moving), dict.fromkeys(names, 1000), ())}
    assert sum(share.budget for share in shares.values()) == count
    assert sum(share.initial for share in shares.values()) == count
    for name, start, end in zip(names, first, last, strict=True):
        if start or end:
            assert abs(shares[name].budget - (start + end) / 2 * count) < 1
            # whole numbers move each end by a few sequences at most, and never below zero
            assert abs(shares[name].initial - start * count) < 2 + len(names)
            assert 0 <= shares[name].initial <= 2 * shares[name].budget


def test_a_drift_follows_the_integral_of_its_weights(corpora: dict[str, Artifact], tmp_path: Path) -> None:
    phases = [phase("drift", 40, {"web": 0.9, "code": 0.1}, weights_to={"web": 0.1, "code": 0.9})]
    plan, _ = run_phases(phases, corpora, tmp_path)[0]
    code = np.cumsum([corpus == "code" for corpus, _ in read(plan)])
    for prefix in range(1, 41):
        integral = Fraction(prefix, 10) + Fraction(8 * prefix * prefix, 10 * 2 * 40)
        assert abs(integral - int(code[prefix - 1])) < 1
    assert code[-1] == 20


def test_a_corpus_that_changed_its_size_between_phases_is_refused() -> None:
    first = phase_shares(whole(phase("one", 4, {"web": 1.0})), {"web": 20}, ())
    with pytest.raises(ValueError, match="has 21 sequences a pass, but earlier phases read from 20.*a name of its own"):
        phase_shares(whole(phase("two", 4, {"web": 1.0})), {"web": 21}, first)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": 8}, r"weights = \{\}, tokens_per_corpus = \{\}: neither is given"),
        ({"tokens": 8, "weights": {"a": 1.0}, "tokens_per_corpus": {"a": 8}}, "both is given"),
        ({"tokens": 9, "tokens_per_corpus": {"a": 8}}, "tokens = 9, but tokens_per_corpus sum to 8. Leave tokens out"),
        ({"tokens": 8, "weights": {"a": 1.0}, "weights_to": {"a": 0.5}}, "weights_to sum to 0.5"),
        ({"tokens": 8, "weights": {"a": 1.0}, "order": "easy_to_hard"}, "order_by = ''"),
        ({"tokens": 8, "weights": {"a": 1.0}, "order_by": "words"}, "order_by = 'words' with order = 'shuffled'"),
    ],
)
def test_contradictions_in_a_phase_are_told(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhaseSection.model_validate({"name": "one", **fields})


def test_budgets_are_checked_from_the_recipe_alone(run_recipe) -> None:
    phases = [
        {"name": "one", "tokens_per_corpus": {"web": 160}},
        {"name": "two", "tokens_per_corpus": {"web": 160, "sql": 160}},
    ]
    expected = {"length": 16, "per_step": 2}
    mix.check_budgets(run_recipe(phases, **expected), {"web": 20, "sql": 10})
    mix.check_budgets(run_recipe(phases, **expected), {})
    with pytest.raises(RecipeError, match="run tiny: phase two asks corpus web for 10 sequences .* it has 9 left"):
        mix.check_budgets(run_recipe(phases, **expected, max_epochs=1.0), {"web": 19})


def test_a_corpus_in_longer_sequences_goes_on_in_the_pass_that_it_was_in() -> None:
    """web: 60 of 40 sequences, one and a half passes; in sequences four times as long a pass has 11."""
    short = phase_shares(whole(phase("short", 80, {"web": 0.75, "sql": 0.25})), {"web": 40, "sql": 40}, ())
    long_phase = PhaseSection(name="long", tokens=5 * 16, weights={"web": 1.0})
    longer = phase_shares(whole(long_phase, 16), {"web": 11}, in_length(short, LENGTH))
    assert {share.corpus: (share.start, share.budget, share.available) for share in longer} == {
        "sql": (20, 0, 40),
        "web": (17, 5, 11),
    }
    last_phase = PhaseSection(name="last", tokens=4 * 16, weights={"web": 0.5, "sql": 0.5})
    last = phase_shares(whole(last_phase, 16), {"web": 11, "sql": 10}, in_length(longer, 16))
    assert {share.corpus: (share.start, share.budget) for share in last} == {"sql": (5, 2), "web": (22, 2)}


def test_a_plan_remembers_the_length_that_a_corpus_was_read_in(tmp_path: Path) -> None:
    short = phase_shares(whole(phase("short", 4, {"sql": 1.0})), {"sql": 40}, ())
    long_phase = PhaseSection(name="long", tokens=16, weights={"web": 1.0})
    shares = phase_shares(whole(long_phase, 16), {"web": 11}, in_length(short, LENGTH))
    PhasePlan.of("long", 16, 0, shares).write(tmp_path)
    assert PhasePlan.read(tmp_path).shares == shares
    assert [share.sequence_length for share in shares] == [LENGTH, None]
