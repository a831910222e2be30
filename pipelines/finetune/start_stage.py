"""The weights of a folder as a checkpoint in the store, from which a fine-tune starts and with which it is compared."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from arctic_model.config import ArcticConfig
from infra.artifact import Artifact
from infra.context import StageContext
from infra.stage import Metrics, Stage
from infra.store import link_or_copy
from pipelines.artifacts.checkpoint import CHECKPOINT, FINETUNED_FILE, checkpoint_folder
from pipelines.train import PinnedWeights

VERSION = 1


def start_stage(subject: str, weights: PinnedWeights, model: Mapping[str, Any]) -> Stage:
    """Take the pinned weights for a `model` of this architecture; a dense model may become one with experts."""
    params = {"digest": weights.digest, "model": dict(model)}
    work = partial(_take, weights, ArcticConfig.from_dict(model))
    return Stage("weights", subject, VERSION, params, {}, work, model_output=CHECKPOINT)


def _take(
    weights: PinnedWeights,
    config: ArcticConfig,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - the weights come from outside the store
) -> Metrics:
    from arctic_model.training.first_weights import InitialWeights, write_weights

    folder = weights.require_unchanged()
    parameters = write_weights(checkpoint_folder(context.out), InitialWeights(folder), config)
    # Whether it knows the chat template goes with the weights.
    if (finetuned := folder.parent / FINETUNED_FILE).is_file() and folder.name == CHECKPOINT:
        link_or_copy(finetuned, context.out / FINETUNED_FILE)
    return {"parameters": parameters}
