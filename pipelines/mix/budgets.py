"""The budget of a phase in whole sequences of its corpora, and whether they can give them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan


@dataclass(frozen=True)
class PhaseBudget:
    """The data of a phase, or of its rest from an amendment on: `num_sequences` of `sequence_length` tokens, of corpora
    by `weights`, which move linearly to `weights_to` if there are any; or exactly `sequences` of each. Messages name it
    as `title`."""

    title: str
    sequence_length: int
    num_sequences: int
    weights: Mapping[str, float] = field(default_factory=dict)
    weights_to: Mapping[str, float] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that it reads, sorted."""
        parts = (self.weights, self.weights_to, self.sequences)
        return sorted({name for part in parts for name, value in part.items() if value})


@dataclass(frozen=True)
class EpochLimits:
    """Passes over a corpus in all phases together: at most `max_epochs`, or the limit in `by_corpus`."""

    max_epochs: float
    by_corpus: Mapping[str, float] = field(default_factory=dict)

    def sequences(self, share: CorpusShare) -> int:
        """Sequences of a corpus that all phases together may read."""
        return int(Fraction(str(self.by_corpus.get(share.corpus, self.max_epochs))) * share.available)

    def field(self, corpus: str) -> str:
        """The field of `[mix]` that holds for a corpus, with its value."""
        if corpus in self.by_corpus:
            return f"max_epochs_per_corpus.{corpus} = {self.by_corpus[corpus]:g}"
        return f"max_epochs = {self.max_epochs:g}"


@dataclass(frozen=True)
class PhasePart:
    """Positions of a phase with one budget: `num_sequences` from `first_position` on, in the order of `shares`. If a
    later part follows, the order is not read to its end."""

    budget: PhaseBudget
    first_position: int
    num_sequences: int
    shares: tuple[CorpusShare, ...]

    @cached_property
    def read(self) -> tuple[CorpusShare, ...]:
        """`shares` with the sequences that are read as their budgets."""
        if sum(share.budget for share in self.shares) == self.num_sequences:
            return self.shares
        return PhasePlan.of(self.budget.title, 1, 0, self.shares).read_shares(self.num_sequences)


def phase_parts(
    budgets: Sequence[PhaseBudget], available: Mapping[str, int], previous: Sequence[CorpusShare]
) -> tuple[PhasePart, ...]:
    """The parts of one phase.

    Args:
        budgets: the phase's, and that of its rest from each amendment of its weights on, which starts when that many
            sequences are left.
        available: sequences of one pass of each corpus.
        previous: the data that the previous phase has read.

    Raises:
        ValueError: if a corpus is not the one that earlier phases read.
    """
    parts: list[PhasePart] = []
    for number, budget in enumerate(budgets):
        left = budgets[number + 1].num_sequences if number + 1 < len(budgets) else 0
        first = budgets[0].num_sequences - budget.num_sequences
        shares = phase_shares(budget, available, parts[-1].read if parts else previous)
        parts.append(PhasePart(budget, first, budget.num_sequences - left, shares))
    return tuple(parts)


def in_length(shares: Sequence[CorpusShare], sequence_length: int) -> tuple[CorpusShare, ...]:
    """`shares` of a phase, each with the length of the sequences that it counts."""
    return tuple(replace(share, sequence_length=share.sequence_length or sequence_length) for share in shares)


def phase_shares(
    budget: PhaseBudget, available: Mapping[str, int], previous: Sequence[CorpusShare]
) -> tuple[CorpusShare, ...]:
    """The shares of one phase, by corpus name: each starts at the end of the earlier phases.

    A corpus that the previous phase had is carried through with a budget of 0 if this one does not use it. A corpus
    that was read in sequences of another length continues after the same number of passes. Raises ValueError if a
    corpus is not the one that the earlier phases read.
    """
    budgets, initial = _budgets(budget)
    before = {share.corpus: share for share in previous}
    shares = []
    for name in sorted({*budgets, *before}):
        old = before.get(name)
        if name not in budgets:
            assert old
            shares.append(_carried(old, budget.sequence_length))
            continue
        start, size = _start(old, budget.sequence_length, available[name]), available[name]
        shares.append(CorpusShare(name, budgets[name], start, size, initial.get(name, 0) if initial else None))
    return tuple(shares)


def _carried(old: CorpusShare, sequence_length: int) -> CorpusShare:
    """A corpus that this phase does not read."""
    other_length = None if old.sequence_length == sequence_length else old.sequence_length
    return CorpusShare(old.corpus, 0, old.start + old.budget, old.available, None, other_length)


def _start(old: CorpusShare | None, sequence_length: int, available: int) -> int:
    """Sequences that earlier phases read, of `available` ones in a pass."""
    if not old:
        return 0
    taken = old.start + old.budget
    if old.sequence_length not in (None, sequence_length):
        return -(-taken * available // old.available) if old.available else 0
    if old.available != available:
        raise ValueError(
            f"corpus {old.corpus} has {available} sequences a pass, but earlier phases read from {old.available}: "
            "which ones were seen is not known. Give the changed corpus a name of its own."
        )
    return taken


def whole_sequences(weights: Mapping[str, float | Fraction], num_sequences: int) -> dict[str, int]:
    """`num_sequences` divided by `weights`: exact in sum, each less than one from its share.

    Largest remainder (Hamilton's method), ties to the first corpus by name. Weights count as the decimals that the
    recipe shows, so 0.1 is a tenth.
    """
    exact = {name: Fraction(str(weight)) for name, weight in weights.items()}
    total = sum(exact.values())
    quotas = {name: weight * num_sequences / total for name, weight in exact.items()}
    budgets = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (budgets[name] - quotas[name], name))
    for name in by_remainder[: num_sequences - sum(budgets.values())]:
        budgets[name] += 1
    return budgets


def epochs(share: CorpusShare) -> float:
    """Passes over the corpus up to the end of this phase."""
    return (share.start + share.budget) / share.available if share.available else 0.0


def budget_faults(part: PhasePart, limits: EpochLimits, unknown: Collection[str] = ()) -> list[str]:
    """One message, with the numbers and the remedy, for each corpus that would be read too many times; none for those
    of `unknown` size."""
    faults = []
    for share in part.read:
        if share.corpus in unknown:
            continue
        left, field = limits.sequences(share) - share.start, limits.field(share.corpus)
        if share.budget > left:
            lower = (
                f"tokens_per_corpus.{share.corpus}" if part.budget.sequences else f"tokens or weights.{share.corpus}"
            )
            faults.append(
                f"{part.budget.title} asks corpus {share.corpus} for {share.budget} sequences "
                f"({share.budget * part.budget.sequence_length} tokens), but with mix.{field} it has "
                f"{max(left, 0)} left: {share.available} sequences, of which earlier phases take {share.start}. "
                f"It would be read {epochs(share):.2f} times. Lower {lower} of the phase, "
                f"add documents, or raise mix.{field.partition(' ')[0]}."
            )
    return faults


def _budgets(budget: PhaseBudget) -> tuple[dict[str, int], dict[str, int]]:
    """Sequences of each corpus that the phase reads; and, if weights move, the number at the initial rate."""
    names, count = budget.corpora, budget.num_sequences
    if budget.sequences:
        return {name: budget.sequences[name] for name in names}, {}
    first = {name: Fraction(str(budget.weights.get(name, 0.0))) for name in names}
    if not budget.weights_to:
        return whole_sequences(first, count), {}
    last = {name: Fraction(str(budget.weights_to.get(name, 0.0))) for name in names}
    budgets = whole_sequences({name: first[name] + last[name] for name in names}, count)
    return budgets, _initial(whole_sequences(first, count), budgets)


def _initial(targets: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, int]:
    """`wanted` with as little change as lets no rate fall below zero at the phase's end: at most twice the budget."""
    initial = {name: min(count, 2 * budgets[name]) for name, count in targets.items()}
    missing = sum(budgets.values()) - sum(initial.values())
    for name in sorted(initial, key=lambda name: (-initial[name], name)):
        added = min(missing, 2 * budgets[name] - initial[name])
        initial[name] += added
        missing -= added
    return initial
