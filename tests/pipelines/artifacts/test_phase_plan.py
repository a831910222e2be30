"""A plan gives the sequence at every position, continues from phase to phase, and is restored from its files."""

import hashlib

import numpy as np
import pytest

from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan, mixture


def make_plan(budgets: list[int], *, starts: list[int] | None = None, available: int = 50, seed: int = 7) -> PhasePlan:
    shares = tuple(
        CorpusShare(f"corpus_{index:02d}", budget, (starts or [0] * len(budgets))[index], available)
        for index, budget in enumerate(budgets)
    )
    return PhasePlan.of("basics", 8, seed, shares)


def read(plan: PhasePlan, start: int = 0, count: int | None = None) -> list[tuple[str, int]]:
    corpora, sequences = plan.sequences(start, plan.num_sequences - start if count is None else count)
    names = [plan.shares[corpus].corpus for corpus in corpora]
    return list(zip(names, sequences.tolist(), strict=True))


def test_any_window_gives_what_reading_from_the_start_gives() -> None:
    plan = make_plan([40, 25, 3, 0])
    whole = read(plan)
    for start in (0, 1, 15, 50, 67):
        assert read(make_plan([40, 25, 3, 0]), start) == whole[start:]
    assert read(plan, 10, 0) == []


def test_positions_outside_the_phase_are_an_error() -> None:
    with pytest.raises(IndexError, match=r"basics: positions 3 \.\. 5 of 4"):
        make_plan([4]).sequences(3, 2)


def test_two_phases_read_each_sequence_once_before_any_is_repeated() -> None:
    first = make_plan([30, 20], available=50)
    second = make_plan([45, 20], starts=[30, 20], available=50)
    sequences = [sequence for corpus, sequence in read(first) + read(second) if corpus == "corpus_00"]
    assert sorted(sequences[:50]) == list(range(50))
    assert len(set(sequences[50:])) == 25
    assert sequences[50:] != sequences[:25]


def test_a_pass_reads_each_sequence_as_often_as_it_has_copies() -> None:
    copies = np.array([2, 0, 1, 3])
    share = CorpusShare("web", 12, 0, 6)
    plan = PhasePlan("weighed", 8, 1, (share,), ((0,),), {"web": np.cumsum(copies)})
    sequences = [sequence for _, sequence in read(plan)]
    for one_pass in (sequences[:6], sequences[6:]):
        assert np.bincount(one_pass, minlength=4).tolist() == copies.tolist()
    assert sequences[:6] != sequences[6:]


def test_an_order_by_values_keeps_what_is_read_in_each_pass() -> None:
    share = CorpusShare("web", 30, 10, 25)
    plan = PhasePlan("plain", 8, 1, (share,), ((0,),))
    values = np.arange(25)[::-1] // 2.0
    ranked = plan.ordered_by("web", values)
    drawn = [sequence for _, sequence in read(plan)]
    for border in (slice(0, 15), slice(15, 30)):
        assert sorted(ranked[border].tolist()) == sorted(drawn[border])
        assert (np.diff(values[ranked[border]]) >= 0).all()


def test_the_mixture_is_the_slope_of_the_budgets() -> None:
    shares = (CorpusShare("code", 50, 0, 100, initial=20), CorpusShare("web", 50, 0, 100, initial=80))
    np.testing.assert_allclose(mixture(shares, [0.0, 0.5, 1.0]), [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]])


def test_plan_comes_back_from_its_files(tmp_path) -> None:
    shares = (CorpusShare("code", 5, 2, 50, initial=3), CorpusShare("web", 3, 0, 6, initial=5))
    plan = PhasePlan.of("drift", 8, 1, shares)
    filed = PhasePlan(
        *(plan.phase, plan.sequence_length, plan.seed, plan.shares, plan.seek),
        copies={"web": np.cumsum([2, 0, 4])},
        ranked={"code": np.array([9, 8, 7, 6, 5])},
    )
    filed.write(tmp_path)
    again = PhasePlan.read(tmp_path)
    assert again == filed
    assert read(again) == read(filed)
    assert again.num_tokens == 64
    assert [sequence for corpus, sequence in read(again) if corpus == "code"] == [9, 8, 7, 6, 5]


def test_the_state_of_reading_is_small(tmp_path) -> None:
    make_plan([5, 3]).write(tmp_path)
    # a reader is a plan's folder and a position
    assert sum(file.stat().st_size for file in tmp_path.rglob("*")) < 1024


def test_orders_of_plans_without_drift_stay_what_they_were() -> None:
    # three phases of 0.5, 0.3, 0.2; 0.2, 0.5, 0.3; 0.1, 0.15, 0.75 as the first version of the project ordered them
    starts, digests = [0, 0, 0], []
    for budgets in ([250, 416, 166], [416, 166, 250], [307, 205, 1536]):
        columns = zip(("python_code", "python_docs", "text_to_sql"), budgets, starts, (1203, 711, 1900), strict=True)
        plan = PhasePlan.of("phase", 256, 1, tuple(CorpusShare(*column) for column in columns))
        lines = "".join(f"{corpus} {sequence}\n" for corpus, sequence in read(plan))
        digests.append(hashlib.sha256(lines.encode()).hexdigest()[:16])
        starts = [start + budget for start, budget in zip(starts, budgets, strict=True)]
    assert digests == ["9bd27221ba6bd8dd", "b8eb565398c1e403", "dcc49981072ee105"]
