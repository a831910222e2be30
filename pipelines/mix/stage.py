"""One phase of the curriculum: budgets, and the plan that fixes every position."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from data_recipes import RecipeError
from data_recipes.curriculum import MixSection, PhaseSection
from infra.context import StageContext
from infra.stage import Metrics, Stage, walk
from infra.store import Artifact
from pipelines.artifacts.documents import TRAIN, shard_paths
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.tokens import TokenSequences
from pipelines.mix.budgets import budget_faults, epochs, phase_shares
from pipelines.mix.weighting import CLUSTER_SIZE, QUALITY, sequence_means, summed_copies

SIDECARS = {"score": "scores", "dedup": "decisions"}
"""Folder of the stage's files that have one row for each document."""


def stage(
    number: int,
    phase: PhaseSection,
    section: MixSection,
    sequence_length: int,
    tokens: Mapping[str, Stage],
    previous: Stage | None,
) -> Stage:
    """Plan phase `number` (from 1) over the packed `tokens` of its corpora, going on where `previous` stopped.

    Corpora that this phase does not read are no input, so changing them leaves its key. Scores and cluster sizes are
    inputs where the recipe orders or weighs by them. The work raises ValueError where a corpus cannot give what the
    phase asks.
    """
    inputs = {f"tokens:{name}": tokens[name] for name in phase.corpora}
    for name in phase.corpora:
        inputs |= {f"{kind}:{name}": _upstream(tokens[name], kind, name) for kind in _sidecars(name, phase, section)}
    if previous is not None:
        inputs["previous"] = previous
    work = partial(_plan, phase, section, sequence_length)
    return Stage("mix", str(number), 2, _params(phase, section, sequence_length), inputs, work)


def pass_length(name: str, section: MixSection, inputs: Mapping[str, Artifact]) -> int:
    """Sequences that one pass over the built corpus `name` reads, copies counted: quality shares them out among the
    sequences and makes none. `inputs` are a mix stage's."""
    if name in section.rehydrate:
        rehydration = _means(name, "dedup", CLUSTER_SIZE, inputs, section.copies_by_cluster_size)
        return int(summed_copies(rehydration, np.ones(len(rehydration)), 0.0)[-1])
    return len(TokenSequences(inputs[f"tokens:{name}"].path, TRAIN))


def _params(phase: PhaseSection, section: MixSection, sequence_length: int) -> dict[str, object]:
    """What decides the plan: of what is given by corpus, only what concerns this phase's.

    max_epochs is none of it: it refuses a plan, and a limit that is raised must not train earlier phases again.
    """
    corpora = phase.corpora
    params = phase.as_params() | {"phase": phase.name, "sequence_length": sequence_length, "seed": section.seed}
    del params["name"]
    for field in ("weights", "weights_to", "tokens_per_corpus"):
        params[field] = {name: params[field][name] for name in corpora if params[field].get(name)}
    params["quality_power"] = {name: section.quality_power[name] for name in corpora if name in section.quality_power}
    params["rehydrate"] = [name for name in corpora if name in section.rehydrate]
    params["copies_by_cluster_size"] = section.copies_by_cluster_size if params["rehydrate"] else []
    return params


def _sidecars(name: str, phase: PhaseSection, section: MixSection) -> list[str]:
    """Stages of a corpus whose columns this phase needs."""
    needs = {"score": phase.order_by or name in section.quality_power, "dedup": name in section.rehydrate}
    return [kind for kind, needed in needs.items() if needed]


def _upstream(tokens: Stage, kind: str, name: str) -> Stage:
    """The stage `kind` of corpus `name` among those that its tokens are made from."""
    for stage in walk([tokens]):
        if (stage.name, stage.subject) == (kind, name):
            return stage
    raise RecipeError(f"corpus {name} has no stage {kind}, by which its sequences are to be ordered or weighed.")


def _plan(
    phase: PhaseSection,
    section: MixSection,
    sequence_length: int,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    sizes = {name: len(TokenSequences(inputs[f"tokens:{name}"].path, TRAIN)) for name in phase.corpora}
    copies = {
        name: _copies(name, section, inputs)
        for name in phase.corpora
        if sizes[name] and (name in section.rehydrate or name in section.quality_power)
    }
    available = sizes | {name: int(summed[-1]) for name, summed in copies.items()}
    earlier = PhasePlan.read(inputs["previous"].path).shares if "previous" in inputs else ()
    shares = phase_shares(phase, sequence_length, available, earlier)
    if faults := budget_faults(shares, phase, sequence_length, section):
        raise ValueError("\n".join(faults))
    plan = replace(PhasePlan.of(phase.name, sequence_length, section.seed, shares), copies=copies)
    _ranked(plan, phase, inputs).write(context.out)
    metrics: dict[str, float] = {}
    for share in shares:
        metrics[f"data/tokens_{share.corpus}"] = share.budget * sequence_length
        metrics[f"data/epochs_{share.corpus}"] = epochs(share)
    return metrics


def _copies(name: str, section: MixSection, inputs: Mapping[str, Artifact]) -> np.ndarray:
    """How often a pass over corpus `name` reads each sequence, summed."""
    rehydration = np.ones(len(TokenSequences(inputs[f"tokens:{name}"].path, TRAIN)))
    quality = np.ones(len(rehydration))
    if name in section.rehydrate:
        rehydration = _means(name, "dedup", CLUSTER_SIZE, inputs, section.copies_by_cluster_size)
    if name in section.quality_power:
        quality = _means(name, "score", QUALITY, inputs)
    try:
        return summed_copies(rehydration, quality, section.quality_power.get(name, 0.0))
    except ValueError as error:
        raise ValueError(f"mix.quality_power.{name}: {error}") from None


def _ranked(plan: PhasePlan, phase: PhaseSection, inputs: Mapping[str, Artifact]) -> PhasePlan:
    """`plan` with the order of its sequences, where that is by a score."""
    if not phase.order_by:
        return plan
    try:
        ranked = {name: plan.ordered_by(name, _means(name, "score", phase.order_by, inputs)) for name in phase.corpora}
    except ValueError as error:
        raise ValueError(f"phase {phase.name}: order_by: {error}") from None
    return replace(plan, ranked=ranked)


def _means(
    name: str, kind: str, column: str, inputs: Mapping[str, Artifact], table: list[list[int]] | None = None
) -> np.ndarray:
    sidecars = shard_paths(inputs[f"{kind}:{name}"].path, SIDECARS[kind])
    return sequence_means(inputs[f"tokens:{name}"].path, sidecars, column, table or ())
