"""Mistakes of the fine-tunes of a run."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from pydantic import ValidationError

from arctic_model.config import ArcticConfig, ConfigError
from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.sections.finetuning import FinetuneSection, LoraSection
from data_recipes.sections.inputs import InputSection, kinds_of_chats
from pipelines.fit.configs import model_config


def finetune_mistakes(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    phases = {name: number for number, phase in enumerate(run.phases, start=1) for name in phase.corpora}
    for number, segments in enumerate(run.segments, start=1):
        phases |= {name: number for each in segments if each.data for name in each.data.corpora}
    for number, section in enumerate(run.finetune, start=1):
        prefix, field = f"finetune.{number}", "weights" if section.weights else "epochs"
        for name in section.corpora:
            place = f"{prefix}.{field}.{name} = {getattr(section, field)[name]:g}"
            yield from (
                f"{place}: {mistake}" for mistake in _tuning_data_mistakes(section, corpora[name], phases.get(name))
            )
        if all(name in phases for name in section.corpora):
            yield f"{prefix}.{field}: no corpus of conversations is among them. Name one, or train another phase."
        yield from (f"{prefix}.{mistake}" for mistake in _layout_mistakes(section, run))


def _tuning_data_mistakes(section: FinetuneSection, corpus: CorpusRecipe, phase: int | None) -> Iterator[str]:
    """Inputs that a fine-tune cannot read: it takes conversations, or documents of a corpus that a phase reads."""
    # A class of the user's own may have conversations or none: the stage that encodes them names a document without.
    for item in (each for each in corpus.source.inputs if isinstance(each, InputSection)):
        if item.has_chats and phase:
            yield (
                f"phases.{phase} reads this corpus as documents. Give the conversations a corpus recipe of their own."
            )
        elif not item.has_chats and (section.preference or not phase):
            yield (
                f"the corpus has an input of kind {item.kind}, whose documents are no conversations. Name a corpus of "
                f"the kind {' or '.join(kinds_of_chats())}."
            )
        elif section.preference and getattr(item, "shape", "none") not in ("auto", "preference"):
            yield (
                f'objective = "dpo" reads pairs of answers, which an input of kind {item.kind} does not give. Name a '
                'corpus of the kind chat with prompt, chosen and rejected, or set objective = "sft".'
            )


def _layout_mistakes(section: FinetuneSection, run: RunRecipe) -> Iterator[str]:
    try:
        train = section.train_section(run.train)
    except ValidationError as error:
        yield str(error.errors()[0]["ctx"]["error"])
        return
    if section.preference and train.context_parallel_size > 1:
        yield (
            f'objective = "dpo" with train.context_parallel_size = {train.context_parallel_size}: a pair of answers is '
            "compared by one worker. Set train.context_parallel_size = 1."
        )
    with suppress(ConfigError):
        # Mistakes in the architecture have a separate line.
        if section.lora:
            yield from _adapter_mistakes(section.lora, model_config(run))
    step_tokens = run.tokenize.sequence_length * train.global_batch_sequences
    if section.tokens is not None and section.tokens % step_tokens:
        nearest = max(1, round(section.tokens / step_tokens)) * step_tokens
        yield (
            f"tokens = {section.tokens} is not a whole number of steps of {step_tokens} tokens (sequence_length x "
            f"global_batch_sequences). Use {nearest}."
        )


def _adapter_mistakes(lora: LoraSection, config: ArcticConfig) -> Iterator[str]:
    """Targets that the model does not have."""
    if lora.targets == ["dense"] and not any(map(config.has_mlp, range(config.num_layers))):
        yield 'lora.targets = ["dense"]: the model has no dense MLP, so there is nothing to train. Add "attention".'
    if "experts" in lora.targets and not config.num_experts:
        yield f'lora.targets = {lora.targets}: the model has no experts. Remove "experts".'
