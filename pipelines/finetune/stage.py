"""The stage: a phase of training on conversations, from the weights of another checkpoint. The loop, the workers and
the checkpoints are those of `pipelines.train`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from arctic_model.config import ArcticConfig
from arctic_model.training.optimization.settings import Dpo, Lora, Tuning
from data_recipes.sections.finetuning import FinetuneSection
from data_recipes.sections.training import TrainSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.inputs import Inputs, Node
from infra.stage import Metrics, Stage
from infra.store import file_digest
from pipelines.artifacts.checkpoint import CHECKPOINT, CHECKPOINT_DIGESTS, Finetuned, checkpoint_folder
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.train import SegmentSettings, key_params, new_job, resources, train_job

VERSION = 4
DECAY_FRACTION = 0.2
"""Of the tokens, at the end, over which "wsd" decays."""


@dataclass(frozen=True)
class FinetuneInputs(Inputs[Node]):
    """The order of the fine-tune, the packed conversations of its corpora, and the checkpoint to start from; and the
    tokenizer if some tokens are trained by name."""

    mix: Node
    tokens: Mapping[str, Node]
    base: Node
    tokenizer: Node | None = None


def stage(
    section: FinetuneSection, train: TrainSection, model: Mapping[str, Any], inputs: FinetuneInputs[Stage]
) -> Stage:
    """The fine-tune that `section` describes; `train` is `[train]` as it applies to it.

    The checkpoint starts from the weights of `inputs.base` with new optimizer state; steps count from 0.
    """
    params = {
        "train": key_params(train),
        "schedule": {"kind": section.schedule, "warmup_fraction": section.warmup_fraction},
        "model": dict(model),
        "lora": section.lora.as_params() if section.lora else None,
    }
    if section.preference:
        params["dpo"] = section.preference.as_params()
    return Stage(
        name="finetune",
        subject=section.name,
        version=VERSION,
        params=params,
        inputs=(inputs if section.trained_tokens else replace(inputs, tokenizer=None)).named(),
        work=partial(_work, section, train, ArcticConfig.from_dict(model)),
        resources=resources(train),
        machine_dependent=True,
        model_output=CHECKPOINT,
    )


def _work(
    section: FinetuneSection,
    train: TrainSection,
    config: ArcticConfig,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    inputs: FinetuneInputs[Artifact] = FinetuneInputs.of(artifacts)
    plan, base = PhasePlan.read(inputs.mix.path), checkpoint_folder(inputs.base.path)
    settings = SegmentSettings(0, 0, train, schedule(section, plan.num_tokens))
    tokens = {name: artifact.path for name, artifact in inputs.tokens.items()}
    tuning = tuning_of(section, _token_ids(section, inputs.tokenizer))
    job = new_job([settings], config, inputs.mix.path, tokens, context.state, weights_from=base, tuning=tuning)
    metrics, digest = train_job(replace(job, can_be_amended=False), context), file_digest(base / CHECKPOINT_DIGESTS)
    if tuning.lora:
        from pipelines.finetune.adapters import merge

        metrics = {**metrics, "adapter_parameters": merge(context.out, base, digest, tuning.lora)}
    method = "lora" if tuning.lora else "full"
    Finetuned(chat=True, objective=section.objective, method=method, base=digest).write(context.out)
    return {**metrics, **_heldout(job.folder)}


def _heldout(folder: Path) -> Metrics:
    """The names of the figures on held-out pairs, if it was trained on pairs and some are held out."""
    from arctic_model.training.reference import HELDOUT_PREFERENCES

    file = folder / HELDOUT_PREFERENCES
    measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {f"heldout/{name}": value for name, value in measured.items()}


def _token_ids(section: FinetuneSection, tokenizer: Artifact | None) -> list[int]:
    if tokenizer is None:
        return []
    from pipelines.artifacts.tokenization.tokenizer import TextTokenizer

    ids = TextTokenizer(tokenizer.path).backend.get_vocab()
    return [ids[token] for token in section.trained_tokens]


def tuning_of(section: FinetuneSection, tokens: Sequence[int]) -> Tuning:
    """The recipe's sections in the words of the job; `tokens` are the ids of its trained tokens."""
    lora, dpo = section.lora, section.preference
    return Tuning(
        Lora(lora.rank, lora.alpha, lora.rslora, tuple(lora.targets), lora.dropout, lora.quantize_base, tuple(tokens))
        if lora
        else None,
        Dpo(dpo.beta, dpo.label_smoothing) if dpo else None,
    )


def schedule(section: FinetuneSection, num_tokens: int) -> dict[str, Any]:
    """Points of the learning-rate schedule in tokens, for `arctic_model.training.optimization.schedule.Schedule`."""
    warmup = int(section.warmup_fraction * num_tokens)
    is_cosine = section.schedule == "cosine"
    return {
        "warmup_tokens": warmup,
        "decay_start_tokens": warmup if is_cosine else num_tokens - int(DECAY_FRACTION * num_tokens),
        "decay_end_tokens": num_tokens,
        "decay": "cosine" if is_cosine else "linear",
    }
