"""Weights into whole sequences, and whether the corpora can give them."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from pipelines.artifacts.phase_plan import CorpusShare


def whole_sequences(weights: Mapping[str, float], num_sequences: int) -> dict[str, int]:
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


def shares(
    budgets: Mapping[str, int], available: Mapping[str, int], previous: Sequence[CorpusShare]
) -> tuple[CorpusShare, ...]:
    """This phase's shares, by corpus name: each starts where the earlier phases stopped.

    A corpus that the previous phase had is carried through with a budget of 0 where this one does not use it.
    """
    taken = {share.corpus: share.start + share.budget for share in previous}
    sizes = {share.corpus: share.available for share in previous} | dict(available)
    return tuple(
        CorpusShare(name, budgets.get(name, 0), taken.get(name, 0), sizes[name]) for name in sorted({*budgets, *taken})
    )


def epochs(share: CorpusShare) -> float:
    """Passes over the corpus up to the end of this phase."""
    return (share.start + share.budget) / share.available if share.available else 0.0


def check_epochs(shares: Sequence[CorpusShare], phase: str, sequence_length: int, max_epochs: float) -> None:
    """Raise ValueError, with the numbers and the mend, where a corpus would be read more than `max_epochs` times."""
    faults = []
    for share in shares:
        left = int(max_epochs * share.available) - share.start
        if share.budget > left:
            faults.append(
                f"phase {phase} asks corpus {share.corpus} for {share.budget} sequences "
                f"({share.budget * sequence_length} tokens), but with mix.max_epochs = {max_epochs:g} it has "
                f"{max(left, 0)} left: {share.available} sequences, of which earlier phases take {share.start}. "
                f"It would be read {epochs(share):.2f} times. Lower tokens or weights.{share.corpus} of the phase, "
                "add documents, or raise mix.max_epochs."
            )
    if faults:
        raise ValueError("\n".join(faults))
