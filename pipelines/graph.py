"""The chain as a graph: corpora side by side, one tokenizer, phases in a row, an evaluation of each, one report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arctic_model.presets import preset
from data_recipes import CorpusRecipe, RecipeError, RunRecipe
from data_recipes.inputs import TextToSqlInput
from data_recipes.lock import Lock
from infra.stage import Stage
from pipelines import dedup, evaluate, mix, report, source, tokenize, train
from pipelines import filter as filter_


@dataclass(frozen=True)
class Graph:
    """Stages by id, inputs first, with the lock they were built from."""

    name: str
    stages: Mapping[str, Stage]
    lock: Lock


@dataclass(frozen=True)
class Corpus:
    """The three stages that make one corpus."""

    source: Stage
    filter: Stage
    dedup: Stage
    has_questions: bool

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.source, self.filter, self.dedup


def corpus_graph(recipe: CorpusRecipe, folder: Path) -> Graph:
    """The graph of one corpus recipe that stands in `folder`. Raises RecipeError where an input is missing."""
    pins = source.pin(recipe.source, folder)
    corpus = _corpus(recipe, pins, folder)
    return Graph(recipe.name, _by_id(corpus.stages), Lock(None, {recipe.name: recipe}, {recipe.name: pins}))


def run_graph(run: RunRecipe, recipes: Mapping[str, tuple[Path, CorpusRecipe]]) -> Graph:
    """The graph of a run; `recipes` are its corpora by name with the file each came from. Raises RecipeError."""
    pins = pin_corpora(recipes)
    lock = Lock(run, {name: recipe for name, (_, recipe) in recipes.items()}, pins)
    return Graph(run.name, chain(run, recipes, pins), lock)


def pin_corpora(recipes: Mapping[str, tuple[Path, CorpusRecipe]]) -> dict[str, dict[str, Any]]:
    """What fixes the inputs of each corpus, by name. Raises RecipeError where one is missing."""
    return {name: source.pin(recipe.source, path.parent) for name, (path, recipe) in recipes.items()}


def chain(
    run: RunRecipe, recipes: Mapping[str, tuple[Path, CorpusRecipe]], pins: Mapping[str, Mapping[str, Any]]
) -> dict[str, Stage]:
    """Every stage of a run by id, inputs first, the report last."""
    corpora = {name: _corpus(recipe, pins[name], path.parent) for name, (path, recipe) in recipes.items()}
    tokenizer = tokenize.tokenizer_stage(
        run.tokenizer, {name: (corpus.source, corpus.dedup) for name, corpus in corpora.items()}
    )
    tokens = {
        name: tokenize.stage(name, run.tokenize, tokenizer, corpus.source, corpus.dedup)
        for name, corpus in corpora.items()
    }
    stages: list[Stage] = [stage for corpus in corpora.values() for stage in corpus.stages]
    stages += [tokenizer, *tokens.values(), *_phases(run, corpora, tokenizer, tokens)]
    stages.append(report.stage(run.name, _by_id(stages)))
    return _by_id(stages)


def _phases(
    run: RunRecipe, corpora: Mapping[str, Corpus], tokenizer: Stage, tokens: Mapping[str, Stage]
) -> list[Stage]:
    model = _model(run)
    questions = {name: corpus.source for name, corpus in corpora.items() if corpus.has_questions}
    stages: list[Stage] = []
    mixed: Stage | None = None
    trained: Stage | None = None
    for number, phase in enumerate(run.phases, start=1):
        mixed = mix.stage(number, phase, run.mix, run.tokenize.sequence_length, tokens, mixed)
        trained = train.stage(number, run.train, schedule(run, number), model, mixed, tokens, trained)
        evaluated = evaluate.stage(number, phase.name, run.evaluate, trained, tokenizer, tokens, questions)
        stages += [mixed, trained, evaluated]
    return stages


def schedule(run: RunRecipe, number: int) -> dict[str, int | None]:
    """Points of the learning-rate schedule, in tokens since the start, as far as phase `number` reaches them: a later
    phase that grows or shrinks leaves the stages before the decay as they are."""
    total = sum(phase.tokens for phase in run.phases)
    end_of_phase = sum(phase.tokens for phase in run.phases[:number])
    decay_start = total - int(total * run.train.decay_fraction)
    decays = end_of_phase > decay_start
    return {
        "warmup_tokens": run.train.warmup_tokens,
        "decay_start_tokens": decay_start if decays else None,
        "decay_end_tokens": total if decays else None,
    }


def _model(run: RunRecipe) -> dict[str, Any]:
    overrides = {"vocab_size": run.tokenizer.vocab_size, **run.model.overrides}
    try:
        return preset(run.model.preset, overrides).to_dict()
    except (KeyError, TypeError, ValueError) as error:
        reason = error.args[0] if error.args else error
        raise RecipeError(f"run {run.name}: model: {reason}") from None


def _corpus(recipe: CorpusRecipe, pins: Mapping[str, Any], folder: Path) -> Corpus:
    sourced = source.stage(recipe.name, recipe.source, pins, folder)
    filtered = filter_.stage(recipe.name, recipe.filter, sourced)
    deduped = dedup.stage(recipe.name, recipe.dedup, sourced, filtered)
    has_questions = any(isinstance(item, TextToSqlInput) for item in recipe.source.inputs)
    return Corpus(sourced, filtered, deduped, has_questions)


def _by_id(stages: list[Stage] | tuple[Stage, ...]) -> dict[str, Stage]:
    return {stage.id: stage for stage in stages}
