"""One phase of the curriculum: budgets, and the plan that fixes every position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from data_recipes import RecipeError
from data_recipes.sections.curriculum import MixSection, PhaseSection
from data_recipes.steering import DataAmendment
from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import TRAIN, shard_paths
from pipelines.artifacts.sequence_order.phase_plan import PhaseOrder, PhasePlan, part_folder
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.mix.budgets import PhasePart, budget_faults, epochs, in_length, phase_parts
from pipelines.mix.from_recipe import epoch_limits, phase_budgets
from pipelines.mix.weighting import CLUSTER_SIZE, QUALITY, long_document_copies, sequence_means, summed_copies


@dataclass(frozen=True)
class MixInputs(Inputs[Node]):
    """By corpus: packed tokens, scores to order or weigh sequences by, decisions with cluster sizes; and the phase
    before."""

    tokens: Mapping[str, Node]
    score: Mapping[str, Node] = field(default_factory=dict)
    dedup: Mapping[str, Node] = field(default_factory=dict)
    previous: Node | None = None


class Lengths(NamedTuple):
    """Tokens per sequence in a phase, and those of `tokenize.sequence_length`."""

    sequence: int
    base: int

    def upsamples(self, section: MixSection) -> bool:
        """Whether the phase upsamples documents that did not fit into a sequence of the base length."""
        return self.sequence > self.base and section.upsample_long > 1


@dataclass(frozen=True)
class Phase:
    """A phase of the recipe with the amendments of its weights so far."""

    section: PhaseSection
    amendments: Sequence[DataAmendment] = ()

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora that it reads, sorted."""
        return sorted({*self.section.corpora, *(name for each in self.amendments for name in each.corpora)})


def stage(
    number: int,
    section_of_phase: PhaseSection,
    section: MixSection,
    lengths: Lengths,
    inputs: MixInputs[Stage],
    amendments: Sequence[DataAmendment] = (),
) -> Stage:
    """Plan phase `number` (from 1) over the packed tokens of its corpora, after the previous phase; plan its rest again
    from each of `amendments` on.

    Of `inputs` the stage takes only those that this phase reads, so that a change to any other leaves its key: scores
    and cluster sizes only if the recipe orders or weighs by them. The work raises ValueError if a corpus cannot give
    the tokens that the phase needs.
    """
    phase = Phase(section_of_phase, amendments)
    scored = [name for name in phase.corpora if section_of_phase.order_by or name in section.quality_power]
    rehydrated = [name for name in phase.corpora if name in section.rehydrate]
    read = MixInputs(
        tokens={name: inputs.tokens[name] for name in phase.corpora},
        score={name: _sidecar(inputs.score, "score", name) for name in scored},
        dedup={name: _sidecar(inputs.dedup, "dedup", name) for name in rehydrated},
        previous=inputs.previous,
    )
    work = partial(_plan, phase, section, lengths)
    return Stage("mix", str(number), 2, _params(phase, section, lengths), read.named(), work)


def pass_length(name: str, section: MixSection, inputs: MixInputs[Artifact]) -> int:
    """Sequences that one pass over the built corpus `name` reads, copies counted: quality shares them out among the
    sequences and makes none. `inputs` are a mix stage's."""
    if name in section.rehydrate:
        rehydration = _cluster_means(name, section, inputs)
        return int(summed_copies(rehydration, np.ones(len(rehydration)), 0.0)[-1])
    return len(TokenSequences(inputs.tokens[name].path, TRAIN))


def _params(phase: Phase, section: MixSection, lengths: Lengths) -> dict[str, object]:
    """The params that decide the plan: of values by corpus, only those of this phase's corpora.

    max_epochs is none of it: it refuses a plan, and a limit that is raised must not train earlier phases again.
    """
    corpora, page = phase.corpora, phase.section
    params = page.as_params() | {"phase": page.name, "sequence_length": lengths.sequence, "seed": section.seed}
    del params["name"], params["train"], params["rope"]
    for by_corpus in ("weights", "weights_to", "tokens_per_corpus"):
        params[by_corpus] = {name: params[by_corpus][name] for name in corpora if params[by_corpus].get(name)}
    params["quality_power"] = {name: section.quality_power[name] for name in corpora if name in section.quality_power}
    params["rehydrate"] = [name for name in corpora if name in section.rehydrate]
    params["copies_by_cluster_size"] = section.copies_by_cluster_size if params["rehydrate"] else []
    if lengths.upsamples(section):
        params |= {"upsample_long": section.upsample_long, "base_length": lengths.base}
    if phase.amendments:
        params["amendments"] = [{"tokens_left": each.tokens, **each.as_params()} for each in phase.amendments]
    return params


def _sidecar(stages: Mapping[str, Stage], kind: str, name: str) -> Stage:
    if name not in stages:
        raise RecipeError(f"corpus {name} has no stage {kind}, by which its sequences are to be ordered or weighed.")
    return stages[name]


def _plan(
    phase: Phase,
    section: MixSection,
    lengths: Lengths,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    inputs: MixInputs[Artifact] = MixInputs.of(artifacts)
    sizes = {name: len(TokenSequences(inputs.tokens[name].path, TRAIN)) for name in phase.corpora}
    copies = {
        name: _copies(name, section, lengths, inputs)
        for name in phase.corpora
        if sizes[name] and (name in section.rehydrate or name in section.quality_power or lengths.upsamples(section))
    }
    available = sizes | {name: int(summed[-1]) for name, summed in copies.items()}
    earlier = PhaseOrder.read(inputs.previous.path) if inputs.previous else None
    previous = in_length(earlier.read_shares, earlier.sequence_length) if earlier else ()
    parts = phase_parts(phase_budgets(phase.section, phase.amendments, lengths.sequence), available, previous)
    if faults := [fault for part in parts for fault in budget_faults(part, epoch_limits(section))]:
        raise ValueError("\n".join(faults))
    for part in parts:
        plan = PhasePlan.of(phase.section.name, lengths.sequence, section.seed, part.shares)
        ranked = _ranked(replace(plan, copies=copies), phase.section, part, inputs)
        ranked.write(part_folder(context.out, part.first_position))
    return _metrics(parts, lengths.sequence)


def _metrics(parts: Sequence[PhasePart], sequence_length: int) -> Metrics:
    """Tokens of each corpus in the phase, and passes over it up to the phase's end."""
    last = parts[-1].read
    budgets = dict.fromkeys((share.corpus for share in last), 0)
    for share in (share for part in parts for share in part.read):
        budgets[share.corpus] += share.budget
    metrics: dict[str, float] = {f"data/tokens_{name}": count * sequence_length for name, count in budgets.items()}
    return metrics | {f"data/epochs_{share.corpus}": epochs(share) for share in last}


def _copies(name: str, section: MixSection, lengths: Lengths, inputs: MixInputs[Artifact]) -> np.ndarray:
    """How often a pass over corpus `name` reads each sequence, summed."""
    rehydration = np.ones(len(TokenSequences(inputs.tokens[name].path, TRAIN)))
    quality = np.ones(len(rehydration))
    if name in section.rehydrate:
        rehydration = _cluster_means(name, section, inputs)
    if lengths.upsamples(section):
        long_copies = long_document_copies(inputs.tokens[name].path, lengths.base, section.upsample_long)
        rehydration = rehydration * long_copies
    if name in section.quality_power:
        quality = _score_means(name, QUALITY, inputs)
    try:
        return summed_copies(rehydration, quality, section.quality_power.get(name, 0.0))
    except ValueError as error:
        raise ValueError(f"mix.quality_power.{name}: {error}") from None


def _ranked(plan: PhasePlan, phase: PhaseSection, part: PhasePart, inputs: MixInputs[Artifact]) -> PhasePlan:
    """`plan` with the order of its sequences, if that is by a score."""
    if not phase.order_by:
        return plan
    corpora = part.budget.corpora
    try:
        ranked = {name: plan.ordered_by(name, _score_means(name, phase.order_by, inputs)) for name in corpora}
    except ValueError as error:
        raise ValueError(f"phase {phase.name}: order_by: {error}") from None
    return replace(plan, ranked=ranked)


def _score_means(name: str, column: str, inputs: MixInputs[Artifact]) -> np.ndarray:
    """The mean of a score over the tokens of each sequence of a corpus."""
    return sequence_means(inputs.tokens[name].path, shard_paths(inputs.score[name].path, "scores"), column, ())


def _cluster_means(name: str, section: MixSection, inputs: MixInputs[Artifact]) -> np.ndarray:
    """How often the cluster sizes of its documents let a pass read each sequence of a corpus, on average."""
    decisions = shard_paths(inputs.dedup[name].path, "decisions")
    return sequence_means(inputs.tokens[name].path, decisions, CLUSTER_SIZE, section.copies_by_cluster_size)
