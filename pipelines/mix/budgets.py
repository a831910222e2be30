"""A phase's page into whole sequences, and whether the corpora can give them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from data_recipes import RecipeError, RunRecipe
from data_recipes.curriculum import MixSection, PhaseSection
from pipelines.artifacts.phase_plan import CorpusShare


def check_budgets(run: RunRecipe, available: Mapping[str, int]) -> None:
    """Raise RecipeError, with the numbers and the mend, where a phase asks a corpus for more than `mix.max_epochs`.

    `available`: sequences that a pass over each corpus reads, as far as they are known, of `tokenize.sequence_length`.
    How many longer ones there are follows from their tokens until they are packed.
    """
    faults = []
    all_phases = all_shares(run, {**available, **_unknown(run, available)})
    for phase, length, shares in zip(run.phases, run.sequence_lengths, all_phases, strict=True):
        # What a pass reads is known after packing if long documents are upsampled.
        is_known = length <= run.tokenize.sequence_length or run.mix.upsample_long == 1
        checked = [share for share in shares if share.corpus in available and is_known]
        faults += budget_faults(checked, phase, length, run.mix)
    if faults:
        raise RecipeError("\n".join(f"run {run.name}: {fault}" for fault in faults))


def all_shares(run: RunRecipe, available: Mapping[str, int]) -> list[tuple[CorpusShare, ...]]:
    """The shares of every phase of a run, from the sequences of one pass of each corpus, `tokenize.sequence_length`
    long."""
    base, by_phase = run.tokenize.sequence_length, []
    previous: tuple[CorpusShare, ...] = ()
    for phase, length in zip(run.phases, run.sequence_lengths, strict=True):
        here = {name: count * base // length for name, count in available.items()}
        shares = phase_shares(phase, length, here, previous)
        by_phase.append(shares)
        previous = in_length(shares, length)
    return by_phase


def in_length(shares: Sequence[CorpusShare], sequence_length: int) -> tuple[CorpusShare, ...]:
    """`shares` of a phase, each with the length of the sequences that it counts."""
    return tuple(replace(share, sequence_length=share.sequence_length or sequence_length) for share in shares)


def phase_shares(
    phase: PhaseSection, sequence_length: int, available: Mapping[str, int], previous: Sequence[CorpusShare]
) -> tuple[CorpusShare, ...]:
    """The shares of one phase, by corpus name: each starts where the earlier phases stopped.

    A corpus that the previous phase had is carried through with a budget of 0 if this one does not use it. One that was
    read in sequences of another length goes on as many passes from its beginning. Raises ValueError if a corpus is not
    the one that the earlier phases read.
    """
    budgets, initial = _budgets(phase, sequence_length)
    before = {share.corpus: share for share in previous}
    shares = []
    for name in sorted({*budgets, *before}):
        old = before.get(name)
        if name not in budgets:
            assert old
            shares.append(_carried(old, sequence_length))
            continue
        start, size = _start(old, sequence_length, available[name]), available[name]
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


def budget_faults(
    shares: Sequence[CorpusShare], phase: PhaseSection, sequence_length: int, section: MixSection
) -> list[str]:
    """One message, with the numbers and the mend, for each corpus that would be read too many times."""
    faults = []
    for share in shares:
        most, corpus = section.epochs_of(share.corpus), share.corpus
        left = int(Fraction(str(most)) * share.available) - share.start
        if share.budget > left:
            limit = "max_epochs_per_corpus." + corpus if corpus in section.max_epochs_per_corpus else "max_epochs"
            field = f"tokens_per_corpus.{corpus}" if phase.tokens_per_corpus else f"tokens or weights.{corpus}"
            faults.append(
                f"phase {phase.name} asks corpus {corpus} for {share.budget} sequences "
                f"({share.budget * sequence_length} tokens), but with mix.{limit} = {most:g} it has "
                f"{max(left, 0)} left: {share.available} sequences, of which earlier phases take {share.start}. "
                f"It would be read {epochs(share):.2f} times. Lower {field} of the phase, "
                f"add documents, or raise mix.{limit}."
            )
    return faults


def _budgets(phase: PhaseSection, sequence_length: int) -> tuple[dict[str, int], dict[str, int]]:
    """Sequences of each corpus that the phase reads; and, where weights move, what they would be at the first rate."""
    names = phase.corpora
    if phase.tokens_per_corpus:
        return {name: phase.tokens_per_corpus[name] // sequence_length for name in names}, {}
    count = phase.tokens // sequence_length
    first = {name: Fraction(str(phase.weights.get(name, 0.0))) for name in names}
    if not phase.weights_to:
        return whole_sequences(first, count), {}
    last = {name: Fraction(str(phase.weights_to.get(name, 0.0))) for name in names}
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


def _unknown(run: RunRecipe, available: Mapping[str, int]) -> dict[str, int]:
    """A size for the corpora of `run` that are not known: none is asked about."""
    return {name: 0 for phase in run.phases for name in phase.corpora if name not in available}
