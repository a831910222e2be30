"""Convert the recipe's sections to budgets and to inputs of the simulation: with `stage` and `conversations`, the only
module of this stage that knows sections."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from data_recipes import RecipeError, RunRecipe
from data_recipes.sections.curriculum import MixSection, PhaseSection
from data_recipes.steering import DataAmendment
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare
from pipelines.mix.budgets import EpochLimits, PhaseBudget, PhasePart, budget_faults, in_length, phase_parts
from pipelines.mix.simulator import SimulatedPhase, Simulation, new_simulation


def check_budgets(run: RunRecipe, available: Mapping[str, int]) -> None:
    """Raise RecipeError, with the numbers and the remedy, if a phase needs more of a corpus than `mix.max_epochs`
    allows.

    `available`: sequences that a pass over each corpus reads, as far as they are known, of `tokenize.sequence_length`.
    How many longer ones there are follows from their tokens until they are packed.
    """
    # A size for the corpora of unknown size, which are not checked.
    unknown = {name: 0 for name in corpora_of(run) if name not in available}
    faults = [
        fault
        for length, parts in zip(run.sequence_lengths, run_parts(run, {**available, **unknown}), strict=True)
        # The length of a pass is known only after packing if long documents are upsampled.
        if length <= run.tokenize.sequence_length or run.mix.upsample_long == 1
        for part in parts
        for fault in budget_faults(part, epoch_limits(run.mix), unknown)
    ]
    if faults:
        raise RecipeError("\n".join(f"run {run.name}: {fault}" for fault in faults))


def simulate(run: RunRecipe, available: Mapping[str, int]) -> Simulation:
    """Plan every phase of `run` over corpora of `available` training sequences each, copies counted. From an amendment
    of its weights on, the rest of a phase is a separate phase.

    A corpus that runs out is read again here; `check_budgets` refuses it. Raises RecipeError if the size of a corpus is
    not given.
    """
    missing = sorted(set(corpora_of(run)) - set(available))
    if missing:
        raise RecipeError(
            f"run {run.name}: the size of {', '.join(missing)} is not known. Build it (arctic run RECIPE --until "
            f"tokenize) or assume its tokens, as --assume {missing[0]}=2e12."
        )
    phases = []
    for section, segments, parts in zip(run.phases, run.segments, run_parts(run, available), strict=True):
        firsts = [segments[0], *(segment for segment in segments if segment.data)]
        lasts = [*(segment.first_step for segment in firsts[1:]), segments[-1].last_step]
        for part, segment, last_step in zip(parts, firsts, lasts, strict=True):
            phases.append(
                SimulatedPhase(
                    name=section.name,
                    first_step=segment.first_step + 1,
                    last_step=last_step,
                    sequences_per_step=segment.train.global_batch_sequences,
                    sequence_length=part.budget.sequence_length,
                    seed=run.mix.seed,
                    shares=part.shares,
                    read=part.read,
                )
            )
    return new_simulation(phases, epoch_limits(run.mix), {*run.mix.rehydrate, *run.mix.quality_power})


def assumed_sequences(assumptions: Sequence[str], sequence_length: int) -> dict[str, int]:
    """Sequences by corpus of options such as `web=2e12` (tokens). Raises RecipeError."""
    sizes = {}
    for assumption in assumptions:
        name, _, tokens = assumption.partition("=")
        try:
            sequences = int(Fraction(tokens)) // sequence_length
        except (ValueError, ZeroDivisionError):
            sequences = -1
        if not name or sequences < 0:
            raise RecipeError(f"--assume {assumption!r} is not CORPUS=TOKENS, such as web=2e12.")
        sizes[name] = sequences
    return sizes


def run_parts(run: RunRecipe, available: Mapping[str, int]) -> list[tuple[PhasePart, ...]]:
    """The parts of every phase of a run, from the sequences of one pass of each corpus, `tokenize.sequence_length`
    long."""
    base, by_phase = run.tokenize.sequence_length, []
    previous: tuple[CorpusShare, ...] = ()
    for phase, length, segments in zip(run.phases, run.sequence_lengths, run.segments, strict=True):
        here = {name: count * base // length for name, count in available.items()}
        amendments = [segment.data for segment in segments if segment.data]
        by_phase.append(phase_parts(phase_budgets(phase, amendments, length), here, previous))
        previous = in_length(by_phase[-1][-1].read, length)
    return by_phase


def phase_budgets(
    phase: PhaseSection, amendments: Sequence[DataAmendment], sequence_length: int
) -> tuple[PhaseBudget, ...]:
    """The budget of a phase, and of its rest from each amendment of its weights on."""
    title = f"phase {phase.name}"
    exact = {name: tokens // sequence_length for name, tokens in phase.tokens_per_corpus.items()}
    whole = PhaseBudget(title, sequence_length, phase.tokens // sequence_length, phase.weights, phase.weights_to, exact)
    rests = (
        PhaseBudget(
            f"{title} after step {each.from_step}",
            sequence_length,
            each.tokens // sequence_length,
            each.weights,
            each.weights_to,
        )
        for each in amendments
    )
    return (whole, *rests)


def corpora_of(run: RunRecipe) -> list[str]:
    """Names of the corpora that the phases of a run read, sorted."""
    amended = (name for segments in run.segments for each in segments if each.data for name in each.data.corpora)
    return sorted({*amended, *(name for phase in run.phases for name in phase.corpora)})


def epoch_limits(section: MixSection) -> EpochLimits:
    """The limits of `[mix]`."""
    return EpochLimits(section.max_epochs, section.max_epochs_per_corpus)
