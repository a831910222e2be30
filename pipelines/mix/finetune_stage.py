"""The order of a fine-tune's sequences: a plan like that of a phase, from the first sequence of each corpus on."""

from collections.abc import Mapping
from functools import partial

from data_recipes.sections.finetuning import FinetuneSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics, Stage
from pipelines.artifacts.documents import TRAIN
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.mix.budgets import epochs, whole_sequences
from pipelines.mix.stage import MixInputs


def finetune_stage(
    section: FinetuneSection, seed: int, sequence_length: int, global_batch_sequences: int, inputs: MixInputs[Stage]
) -> Stage:
    """Plan a fine-tune over the packed conversations of its corpora; of `inputs` it takes their tokens."""
    read = MixInputs(tokens={name: inputs.tokens[name] for name in section.corpora})
    params = {
        "weights": section.weights,
        "tokens": section.tokens,
        "epochs": section.epochs,
        "seed": seed,
        "sequence_length": sequence_length,
        "global_batch_sequences": global_batch_sequences,
    }
    work = partial(_plan, section, seed, sequence_length, global_batch_sequences)
    return Stage("mix", section.name, 1, params, read.named(), work)


def budgets(section: FinetuneSection, available: Mapping[str, int], sequence_length: int, batch: int) -> dict[str, int]:
    """Sequences of each corpus, a whole number of batches in all and at least one."""
    if section.tokens is not None:
        return whole_sequences(section.weights, section.tokens // sequence_length)
    sequences = {name: count * available[name] for name, count in section.epochs.items()}
    num_batches = max(1, round(sum(sequences.values()) / batch))
    return whole_sequences(sequences, num_batches * batch)


def _plan(
    section: FinetuneSection,
    seed: int,
    sequence_length: int,
    batch: int,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    inputs: MixInputs[Artifact] = MixInputs.of(artifacts)
    available = {name: len(TokenSequences(tokens.path, TRAIN)) for name, tokens in sorted(inputs.tokens.items())}
    counts = budgets(section, available, sequence_length, batch)
    shares = tuple(CorpusShare(name, counts[name], 0, available[name]) for name in available)
    PhasePlan.of(section.name, sequence_length, seed, shares).write(context.out)
    metrics: dict[str, float] = {}
    for share in shares:
        metrics[f"data/tokens_{share.corpus}"] = share.budget * sequence_length
        metrics[f"data/epochs_{share.corpus}"] = epochs(share)
    return metrics
