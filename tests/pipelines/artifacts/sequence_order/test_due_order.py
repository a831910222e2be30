"""A phase's order is fair at every prefix, complete at the end, and the same from any starting position."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.artifacts.sequence_order import due_order
from pipelines.artifacts.sequence_order.due_order import DueOrder, cycle, earliest_due, seek_table, window_of

budget_lists = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(sum)


def walked(budgets: list[int], initial: list[int]) -> np.ndarray:
    return earliest_due(budgets, initial, [0] * len(budgets), 0, sum(budgets))[0]


def by_definition(budgets: list[int]) -> list[int]:
    """The rule as defined, position by position, for phases without drift."""
    total, taken, selected = sum(budgets), [0] * len(budgets), []
    for position in range(total):
        due = {
            corpus: (-(-total * (taken[corpus] + 1) // budget), corpus)
            for corpus, budget in enumerate(budgets)
            if budget * (position + 1) > total * taken[corpus]
        }
        selected.append(min(due, key=due.__getitem__))
        taken[selected[-1]] += 1
    return selected


@st.composite
def drifts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Budgets, and rates at the start with the same sum, each at most twice its budget."""
    budgets = draw(budget_lists)
    missing, initial = sum(budgets), []
    for index, budget in enumerate(budgets):
        rest = 2 * sum(budgets[index + 1 :])
        low, high = max(0, missing - rest), min(2 * budget, missing)
        initial.append(draw(st.integers(low, high)))
        missing -= initial[-1]
    return budgets, initial


@given(budget_lists)
def test_the_order_is_that_of_the_definition(budgets: list[int]) -> None:
    assert walked(budgets, budgets).tolist() == by_definition(budgets)


@settings(max_examples=40)
@given(drifts())
def test_every_prefix_is_less_than_one_sequence_from_the_integral_of_the_rates(result: tuple) -> None:
    budgets, initial = result
    total = sum(budgets)
    selected = walked(budgets, initial)
    for corpus, (budget, first) in enumerate(zip(budgets, initial, strict=True)):
        taken = np.cumsum(selected == corpus).tolist()
        last = 2 * budget - first
        for prefix in range(1, total + 1):
            # the trapezium between the rate at the start and the rate at the prefix
            rate = first + Fraction((last - first) * prefix, total)
            assert abs(Fraction(prefix, total) * (first + rate) / 2 - taken[prefix - 1]) < 1
        assert taken[-1] == budget


def test_mixture_that_defeats_most_behind_stays_fair() -> None:
    # taking the corpus most behind strays by 1.32 sequences here
    budgets = [7, 20, 1, 20, 1, 1, 1, 7, 20, 20, 7, 1]
    taken = np.cumsum(walked(budgets, budgets)[:, None] == np.arange(12), axis=0)
    shares = np.outer(np.arange(1, sum(budgets) + 1), budgets) / sum(budgets)
    assert np.abs(shares - taken).max() < 1


@settings(max_examples=50)
@given(drifts(), st.data())
def test_entering_anywhere_gives_what_walking_gives(result: tuple, data: st.DataObject) -> None:
    budgets, initial = result
    selected, before = earliest_due(budgets, initial, [0] * len(budgets), 0, sum(budgets))
    start = data.draw(st.integers(0, sum(budgets)))
    assume(start < sum(budgets))
    counts = [int((selected[:start] == corpus).sum()) for corpus in range(len(budgets))]
    late_chosen, late_before = earliest_due(budgets, initial, counts, start, sum(budgets) - start)
    np.testing.assert_array_equal(late_chosen, selected[start:])
    np.testing.assert_array_equal(late_before, before[start:])


@settings(max_examples=30)
@given(drifts())
def test_each_sequence_stands_in_its_window(result: tuple) -> None:
    budgets, initial = result
    selected = walked(budgets, initial)
    for corpus, (budget, first) in enumerate(zip(budgets, initial, strict=True)):
        for number, position in enumerate(np.flatnonzero(selected == corpus).tolist()):
            earliest, latest = window_of(budget, first, sum(budgets), number)
            assert earliest <= position <= latest


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_order, "BLOCK", 16)


@pytest.mark.parametrize(
    ("budgets", "initial"),
    [([41, 25, 3, 0], [41, 25, 3, 0]), ([400, 240, 80], [400, 240, 80]), ([300, 20, 77], [203, 40, 154])],
    ids=["no common divisor", "cycles", "drift"],
)
def test_the_seek_table_leads_to_every_position(small_blocks: None, budgets: list[int], initial: list[int]) -> None:
    total, whole = sum(budgets), walked(budgets, initial)
    order = DueOrder(budgets, initial, seek_table(budgets, initial))
    for start in (0, 1, 15, 16, 17, 50, total - 3, total):
        selected, before = order.window(start, total - start)
        np.testing.assert_array_equal(selected, whole[start:])
        assert all(before[i] == (whole[: start + i] == selected[i]).sum() for i in range(0, total - start, 7))
    for corpus, budget in enumerate(budgets):
        locations = np.flatnonzero(whole == corpus)
        assert [order.position_of(corpus, number) for number in range(budget)] == locations.tolist()


def test_budgets_with_a_common_divisor_need_the_table_of_one_cycle_only() -> None:
    budgets = [5 * 10**8, 3 * 10**8, 2 * 10**8]
    assert cycle(budgets, budgets)[0] == [4100, 2460, 1640]
    assert len(seek_table(budgets)) == 2


def test_seeking_walks_one_block_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = [70_001, 20_003, 9_999]
    order = DueOrder(budgets, budgets, seek_table(budgets))
    lengths = []
    real = due_order.earliest_due
    monkeypatch.setattr(due_order, "earliest_due", lambda *rule: (lengths.append(rule[-1]), real(*rule))[1])
    order.window(99_000, 3)
    assert len(lengths) == 1
    assert lengths[0] <= due_order.BLOCK


def test_the_compiled_walk_equals_the_interpreted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = ([30_000, 1, 0, 777, 25_001], None), ([30_000, 1, 0, 777, 25_001], [53_779, 0, 0, 1000, 1000])
    interpreted = [seek_table(*rule) for rule in rules]
    monkeypatch.setattr(due_order, "WORTH_COMPILING", 0)
    assert [seek_table(*rule) for rule in rules] == interpreted


@settings(max_examples=30)
@given(st.integers(10**8, 10**9), st.lists(st.integers(1, 1000), min_size=3, max_size=3), st.data())
def test_windows_are_exact_at_a_billion_positions(total: int, parts: list[int], data: st.DataObject) -> None:
    budget = total * parts[0] // sum(parts)
    initial = data.draw(st.integers(0, 2 * budget))
    number = data.draw(st.integers(0, budget - 1))
    earliest, latest = window_of(budget, initial, total, number)

    def quota(prefix: int) -> Fraction:
        return Fraction(prefix * (total * initial + (budget - initial) * prefix), total**2)

    assert quota(earliest) <= number < quota(earliest + 1)
    assert quota(latest) < number + 1 <= quota(latest + 1)


def test_a_phase_beyond_the_reach_of_the_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="4000000000 sequences: up to 3037000499 can be ordered. Split the phase"):
        seek_table([3 * 10**9, 10**9])
