"""The fine-tunes of a run: conversations of their corpora, the checkpoint that each starts from, and an evaluation of
each that is compared with that of its start."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_recipes import RunRecipe
from data_recipes.sections.finetuning import FinetuneSection
from infra.stage import Stage
from pipelines import evaluate, finetune, mix, tokenize
from pipelines.fit.configs import model_config, phase_config
from pipelines.tokenize import chat
from pipelines.train import PinnedWeights


@dataclass(frozen=True)
class Measured:
    """A stage that made a checkpoint, and the one that scored it."""

    trained: Stage
    evaluated: Stage


def conversation_corpora(run: RunRecipe) -> list[str]:
    """Names of the corpora that fine-tunes read as conversations, sorted: those that no phase reads as documents."""
    documents = {name for phase in run.phases for name in phase.corpora}
    return sorted({name for section in run.finetune for name in section.corpora} - documents)


def finetune_stages(
    run: RunRecipe,
    documents: Mapping[str, tokenize.TrainingDocuments[Stage]],
    tokens: Mapping[str, Stage],
    asked: evaluate.PhaseInputs[Stage],
    phases: Mapping[str, Measured],
    bases: Mapping[str, PinnedWeights],
    folder: Path,
) -> list[Stage]:
    """The stages of every fine-tune.

    Args:
        run: The recipe.
        documents: Kept documents of the corpora of conversations, by name.
        tokens: Tokens of the corpora that phases read, by name.
        asked: Tokenizer, held-out documents and questions of the run.
        phases: The phases by name.
        bases: The weights that fine-tunes start from, by the folder that they name.
        folder: Folder of the recipe.
    """
    chats = {
        section.tokens_name(name): chat.stage(
            name,
            section.tokens_name(name),
            run.tokenize,
            tokenize.TokenizeInputs(asked.tokenizer, documents[name]),
            pairs=bool(section.preference),
        )
        for section in run.finetune
        for name in section.corpora
        if name in documents
    }
    length = run.tokenize.sequence_length
    models = {phase.name: phase_config(run, number).to_dict() for number, phase in enumerate(run.phases, start=1)}
    stages = list(chats.values())
    checkpoints = dict(phases)
    for section in run.finetune:
        if section.base not in checkpoints:
            models[section.base] = model_config(run).to_dict()
            start = _start(section, bases[section.base], models[section.base], run, asked, folder)
            checkpoints[section.base] = start
            stages += [start.trained, start.evaluated]
        base, train = checkpoints[section.base], section.train_section(run.train)
        model = models[section.name] = models[section.base]
        names = {name: section.tokens_name(name) for name in section.corpora}
        read = {name: chats[names[name]] if name in documents else tokens[name] for name in names}
        order = mix.MixInputs(read)
        mixed = mix.finetune_stage(section, run.mix.seed, length, train.global_batch_sequences, order)
        inputs = finetune.FinetuneInputs(mixed, read, base.trained, asked.tokenizer)
        tuned = finetune.stage(section, train, model, inputs)
        # The same questions and the same held-out documents as its start, to measure forgetting as well as learning.
        again: evaluate.PhaseInputs[Stage] = evaluate.PhaseInputs.of(base.evaluated.inputs)
        again = replace(again, train=tuned, previous=base.evaluated)
        evaluated = evaluate.stage(section.name, section.name, run.evaluate, folder, again)
        checkpoints[section.name] = Measured(tuned, evaluated)
        stages += [mixed, tuned, evaluated]
    return stages


def _start(
    section: FinetuneSection,
    weights: PinnedWeights,
    model: Mapping[str, Any],
    run: RunRecipe,
    asked: evaluate.PhaseInputs[Stage],
    folder: Path,
) -> Measured:
    """The weights of the folder that a fine-tune starts from, and their scores."""
    subject = f"{section.name}.start"
    taken = finetune.start_stage(subject, weights, model)
    return Measured(
        taken, evaluate.stage(subject, subject, run.evaluate, folder, replace(asked, train=taken, previous=None))
    )
