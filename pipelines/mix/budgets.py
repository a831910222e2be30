"""A phase's page into whole sequences, and whether the corpora can give them."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from data_recipes import RecipeError, RunRecipe
from data_recipes.curriculum import MixSection, PhaseSection
from pipelines.artifacts.phase_plan import CorpusShare


def check_budgets(run: RunRecipe, available: Mapping[str, int]) -> None:
    """Raise RecipeError, with the numbers and the mend, where a phase asks a corpus for more than `mix.max_epochs`.

    `available`: sequences that a pass over each corpus reads, as far as they are known.
    """
    faults = []
    for phase, shares in zip(run.phases, all_shares(run, {**available, **_unknown(run, available)}), strict=True):
        available_shares = [share for share in shares if share.corpus in available]
        faults += budget_faults(available_shares, phase, run.tokenize.sequence_length, run.mix)
    if faults:
        raise RecipeError("\n".join(f"run {run.name}: {fault}" for fault in faults))


def all_shares(run: RunRecipe, available: Mapping[str, int]) -> list[tuple[CorpusShare, ...]]:
    """The shares of every phase of a run, from the sequences of one pass of each corpus."""
    by_phase: list[tuple[CorpusShare, ...]] = []
    for phase in run.phases:
        previous = by_phase[-1] if by_phase else ()
        by_phase.append(phase_shares(phase, run.tokenize.sequence_length, available, previous))
    return by_phase


def phase_shares(
    phase: PhaseSection, sequence_length: int, available: Mapping[str, int], previous: Sequence[CorpusShare]
) -> tuple[CorpusShare, ...]:
    """The shares of one phase, by corpus name: each starts where the earlier phases stopped.

    A corpus that the previous phase had is carried through with a budget of 0 if this one does not use it.
    Raises ValueError if a corpus is not the one that the earlier phases read.
    """
    budgets, initial = _budgets(phase, sequence_length)
    before = {share.corpus: share for share in previous}
    shares = []
    for name in sorted({*budgets, *before}):
        old = before.get(name)
        size = available[name] if name in budgets else before[name].available
        if old and old.available != size:
            raise ValueError(
                f"corpus {name} has {size} sequences a pass, but earlier phases read from {old.available}: which ones "
                "were seen is not known. Give the changed corpus a name of its own."
            )
        start = old.start + old.budget if old else 0
        shares.append(CorpusShare(name, budgets.get(name, 0), start, size, initial.get(name, 0) if initial else None))
    return tuple(shares)


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
