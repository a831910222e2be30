"""Simulate the data of a run, from its recipe and the sizes of its corpora alone: the run's own plans, without
tokens."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipelines.artifacts.sequence_order.due_order import cycle, window_of
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan, mixture
from pipelines.mix.budgets import EpochLimits, epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_POINTS = 33
"""Points of a phase that are drawn."""
WALKED_POSITIONS = 1_500_000
"""Positions whose order can be computed in about a second, to find an exact step."""
Steps = tuple[int, int]
"""First and last step at which something can happen: equal if the step is known exactly."""


@dataclass(frozen=True)
class CorpusOfPhase:
    """One corpus in one phase. `epochs`: passes over it up to the phase's end; `first_repeat`: step at which its first
    sequence is read again (if a pass reads each once), `runs_out`: step at which max_epochs would be passed, both
    counted from the run's start, None if neither happens in this phase."""

    corpus: str
    tokens: int
    epochs: float
    first_repeat: Steps | None
    runs_out: Steps | None


@dataclass(frozen=True)
class SimulatedPhase:
    """One phase: its steps (first to last, counted from 1 in the run), and its corpora. `shares` are its plan's, `read`
    those with the sequences that are read as their budgets."""

    name: str
    first_step: int
    last_step: int
    sequences_per_step: int
    sequence_length: int
    seed: int
    shares: tuple[CorpusShare, ...]
    read: tuple[CorpusShare, ...]

    @property
    def tokens(self) -> int:
        return sum(share.budget for share in self.read) * self.sequence_length

    @property
    def plan_tokens(self) -> int:
        """Tokens of the plan, which is not read to its end if its weights are amended."""
        return sum(share.budget for share in self.shares) * self.sequence_length

    @cached_property
    def plan(self) -> PhasePlan:
        """The plan that the run would follow, sequence for sequence, except for orders and repeats that depend on
        scores.
        """
        return PhasePlan.of(self.name, self.sequence_length, self.seed, self.shares)

    def step_of(self, share: CorpusShare, draw: int) -> Steps | None:
        """The step that reads draw number `draw` of a corpus, None if it is not this phase's.

        The sequence's window nearly always lies in one step. If not, the order is computed, or, in a phase too long for
        that, the result is every step of the window.
        """
        if not share.start <= draw < share.start + share.budget:
            return None
        budgets, initial = zip(*((other.budget, other.initial_rate) for other in self.shares), strict=True)
        (planned,) = (other for other in self.shares if other.corpus == share.corpus)
        window = window_of(planned.budget, planned.initial_rate, sum(budgets), draw - share.start)
        first, last = (min(self.first_step + each // self.sequences_per_step, self.last_step) for each in window)
        if first != last and sum(cycle(budgets, initial)[0]) <= WALKED_POSITIONS:
            first = last = self.first_step + self.plan.position_of(share.corpus, draw) // self.sequences_per_step
        return first, last


@dataclass(frozen=True)
class Simulation:
    """The data of a run: each phase with the events of its corpora."""

    phases: tuple[tuple[SimulatedPhase, tuple[CorpusOfPhase, ...]], ...]

    @property
    def corpora(self) -> list[str]:
        """Every corpus that is read, sorted."""
        return sorted({corpus.corpus for _, corpora in self.phases for corpus in corpora})


def new_simulation(phases: Sequence[SimulatedPhase], limits: EpochLimits, weighed: Collection[str]) -> Simulation:
    """The simulation of `phases`, one after the other. Passes over `weighed` corpora do not read each sequence once."""
    return Simulation(
        tuple(
            (
                phase,
                tuple(_corpus(phase, share, limits, share.corpus in weighed) for share in phase.read if share.budget),
            )
            for phase in phases
        )
    )


def draw_mix(simulation: Simulation) -> "Figure":
    """The mixture over tokens, stacked, as a matplotlib figure."""
    from matplotlib.figure import Figure

    tokens, shares = mixture_over_tokens(simulation)
    figure = Figure(figsize=(9.2, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(tokens, shares.T, labels=simulation.corpora)
    done = 0
    for phase, _ in simulation.phases:
        axes.axvline(done, color="black", lw=0.6)
        axes.text(done + phase.tokens / 2, 1.03, phase.name, ha="center")
        done += phase.tokens
    axes.set(xlim=(0, done), ylim=(0, 1), xlabel="training tokens", ylabel="share")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=True)
    return figure


def _corpus(phase: SimulatedPhase, share: CorpusShare, limits: EpochLimits, is_weighed: bool) -> CorpusOfPhase:
    return CorpusOfPhase(
        corpus=share.corpus,
        tokens=share.budget * phase.sequence_length,
        epochs=epochs(share),
        first_repeat=None if is_weighed else phase.step_of(share, share.available),
        runs_out=phase.step_of(share, limits.sequences(share)),
    )


def mixture_over_tokens(simulation: Simulation) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [points], and the share of each of `simulation.corpora` [points, corpora] there."""
    names = simulation.corpora
    points = np.linspace(0, 1, FIGURE_POINTS)
    tokens, shares = [], []
    done = 0
    for phase, _ in simulation.phases:
        here = np.zeros((FIGURE_POINTS, len(names)))
        read = [share for share in phase.shares if share.corpus in names and share.budget]
        end = phase.tokens / phase.plan_tokens
        here[:, [names.index(share.corpus) for share in read]] = mixture(read, points * end)
        tokens.append(done + points * phase.tokens)
        shares.append(here)
        done += phase.tokens
    return np.concatenate(tokens), np.concatenate(shares)
