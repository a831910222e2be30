"""A phase's order is fair at every prefix, complete at the end, and the same from wherever it is entered."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifacts import phase_plan
from pipelines.artifacts.phase_plan import CorpusShare, PhasePlan, earliest_due, permute, seek_table

budget_lists = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(sum)


def make_plan(budgets: list[int], *, starts: list[int] | None = None, available: int = 50, seed: int = 7) -> PhasePlan:
    shares = tuple(
        CorpusShare(f"corpus_{index:02d}", budget, (starts or [0] * len(budgets))[index], available)
        for index, budget in enumerate(budgets)
    )
    return PhasePlan("basics", 8, seed, shares, seek_table(budgets))


@given(budget_lists)
def test_every_prefix_is_less_than_one_sequence_from_each_share_and_the_end_is_exact(budgets: list[int]) -> None:
    total = sum(budgets)
    chosen, _ = earliest_due(budgets, [0] * len(budgets), 0, total)
    for corpus, budget in enumerate(budgets):
        taken = np.cumsum(chosen == corpus)
        for prefix in range(1, total + 1):
            assert abs(Fraction(budget * prefix, total) - int(taken[prefix - 1])) < 1
        assert taken[-1] == budget


def test_mixture_that_defeats_most_behind_stays_fair() -> None:
    # taking the corpus most behind strays by 1.32 sequences here
    budgets = [7, 20, 1, 20, 1, 1, 1, 7, 20, 20, 7, 1]
    chosen, _ = earliest_due(budgets, [0] * 12, 0, sum(budgets))
    taken = np.cumsum(chosen[:, None] == np.arange(12), axis=0)
    shares = np.outer(np.arange(1, sum(budgets) + 1), budgets) / sum(budgets)
    assert np.abs(shares - taken).max() < 1


@given(budget_lists, st.data())
def test_entering_anywhere_gives_what_walking_gives(budgets: list[int], data: st.DataObject) -> None:
    chosen, before = earliest_due(budgets, [0] * len(budgets), 0, sum(budgets))
    start = data.draw(st.integers(0, sum(budgets)))
    counts = [int((chosen[:start] == corpus).sum()) for corpus in range(len(budgets))]
    late_chosen, late_before = earliest_due(budgets, counts, start, sum(budgets) - start)
    np.testing.assert_array_equal(late_chosen, chosen[start:])
    np.testing.assert_array_equal(late_before, before[start:])


def test_compiled_rule_equals_the_interpreted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = [3000, 1, 0, 777, 2500]
    interpreted = earliest_due(budgets, [0] * 5, 0, sum(budgets))
    monkeypatch.setattr(phase_plan, "WORTH_COMPILING", 0)
    np.testing.assert_array_equal(earliest_due(budgets, [0] * 5, 0, sum(budgets)), interpreted)


def test_seeking_across_blocks_equals_walking_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase_plan, "BLOCK", 16)
    plan = make_plan([40, 25, 3, 0])
    walked = list(plan.sequences(0, plan.num_sequences))
    assert len(plan.seek) == 5
    for start in (0, 1, 15, 16, 17, 50, 67):
        assert list(make_plan([40, 25, 3, 0]).sequences(start, 68 - start)) == walked[start:]
    assert list(plan.sequences(10, 0)) == []


def test_positions_outside_the_phase_are_an_error() -> None:
    with pytest.raises(IndexError, match=r"basics: positions 3 \.\. 5 of 4"):
        list(make_plan([4]).sequences(3, 2))


@settings(max_examples=40)
@given(st.integers(1, 700), st.text("ab/0123", max_size=5))
def test_permutation_is_a_bijection(size: int, key: str) -> None:
    assert sorted(permute(index, size, key) for index in range(size)) == list(range(size))


def test_orders_differ_between_epochs_corpora_and_seeds() -> None:
    orders = {tuple(permute(index, 100, key) for index in range(100)) for key in ("0/a/0", "0/a/1", "0/b/0", "1/a/0")}
    assert len(orders) == 4
    assert tuple(range(100)) not in orders


def test_permutation_has_no_trend() -> None:
    images = np.array([permute(index, 5000, "3/web/0") for index in range(5000)])
    # 4 standard errors of a random permutation's rank correlation
    assert abs(np.corrcoef(np.arange(5000), images)[0, 1]) < 4 / np.sqrt(5000)


def test_two_phases_read_each_sequence_once_before_any_is_repeated() -> None:
    first = make_plan([30, 20], available=50)
    second = make_plan([45, 20], starts=[30, 20], available=50)
    read = [*first.sequences(0, 50), *second.sequences(0, 65)]
    sequences = [sequence for corpus, sequence in read if corpus == "corpus_00"]
    assert sorted(sequences[:50]) == list(range(50))
    assert len(set(sequences[50:])) == 25
    assert sequences[50:] != sequences[:25]


def test_plan_comes_back_from_its_file(tmp_path: object) -> None:
    plan = make_plan([5, 3], starts=[2, 0])
    plan.write(tmp_path)
    again = PhasePlan.read(tmp_path)
    assert again == plan
    assert list(again.sequences(0, 8)) == list(plan.sequences(0, 8))
    assert again.num_tokens == 64
