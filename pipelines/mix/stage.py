"""One phase of the curriculum: budgets, and the plan that fixes every position."""

from collections.abc import Mapping
from functools import partial

from data_recipes.schema import MixSection, PhaseSection
from infra.context import StageContext
from infra.stage import Metrics, Stage
from infra.store import Artifact
from pipelines.artifacts.documents import TRAIN
from pipelines.artifacts.phase_plan import PhasePlan, seek_table
from pipelines.artifacts.tokens import TokenSequences
from pipelines.mix.budgets import check_epochs, epochs, shares, whole_sequences


def stage(
    number: int,
    phase: PhaseSection,
    section: MixSection,
    sequence_length: int,
    tokens: Mapping[str, Stage],
    previous: Stage | None,
) -> Stage:
    """Plan phase `number` (from 1) over the packed `tokens` of its corpora, going on where `previous` stopped.

    Corpora without weight in this phase are no input, so changing them leaves its key. The work raises ValueError
    where a corpus cannot give what the phase asks.
    """
    weights = _weights(phase)
    inputs = {f"tokens:{name}": tokens[name] for name in weights}
    if previous is not None:
        inputs["previous"] = previous
    params = {
        **section.as_params(),
        "phase": phase.name,
        "tokens": phase.tokens,
        "weights": weights,
        "sequence_length": sequence_length,
    }
    return Stage("mix", str(number), 1, params, inputs, partial(_plan, phase, section, sequence_length))


def _plan(
    phase: PhaseSection,
    section: MixSection,
    sequence_length: int,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    weights = _weights(phase)
    available = {name: len(TokenSequences(inputs[f"tokens:{name}"].path, TRAIN)) for name in weights}
    earlier = PhasePlan.read(inputs["previous"].path).shares if "previous" in inputs else ()
    planned = shares(whole_sequences(weights, phase.tokens // sequence_length), available, earlier)
    check_epochs(planned, phase.name, sequence_length, section.max_epochs)
    seek = seek_table([share.budget for share in planned])
    PhasePlan(phase.name, sequence_length, section.seed, planned, seek).write(context.out)
    metrics: dict[str, float] = {}
    for share in planned:
        metrics[f"data/tokens_{share.corpus}"] = share.budget * sequence_length
        metrics[f"data/epochs_{share.corpus}"] = epochs(share)
    return metrics


def _weights(phase: PhaseSection) -> dict[str, float]:
    """The corpora that this phase reads."""
    return {name: weight for name, weight in sorted(phase.weights.items()) if weight > 0}
