"""The graph of the chain: corpora side by side, one tokenizer, phases with their evaluations, exports, a report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_recipes import CorpusRecipe, RecipeError, RunRecipe, load_corpus
from data_recipes.lock import Lock
from data_recipes.sections.curriculum import PhaseSection
from data_recipes.sections.training import TrainSection
from infra.stage import Stage, topological_order
from pipelines import annotate, dedup, evaluate, mix, report, score, source, tokenize, train
from pipelines import filter as filter_
from pipelines.fit import require_fit
from pipelines.fit.configs import Recipes, mistakes_of, model_config, phase_config
from pipelines.graph.curve import curve_stages
from pipelines.graph.exporting import export_stages
from pipelines.graph.finetuning import Measured, conversation_corpora, finetune_stages
from pipelines.graph.own_stages import own_stages
from pipelines.report.evaluation import stage as evaluation_page


@dataclass(frozen=True)
class Graph:
    """Stages by id, inputs first, with the lock they were built from."""

    name: str
    stages: Mapping[str, Stage]
    lock: Lock


@dataclass(frozen=True)
class Corpus:
    """The stages that make one corpus, and the user's own that read their results."""

    source: Stage
    score: Stage
    filter: Stage
    dedup: Stage
    has_questions: bool
    annotate: Mapping[str, Stage]
    """Annotations by name."""
    own: tuple[Stage, ...] = ()
    """Stages of the user's own."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.source, self.score, *self.annotate.values(), self.filter, self.dedup, *self.own

    @property
    def training_documents(self) -> tokenize.TrainingDocuments[Stage]:
        """The stages whose results are read for training."""
        return tokenize.TrainingDocuments(self.source, self.filter, self.dedup)

    @property
    def decisions(self) -> evaluate.CorpusDecisions[Stage]:
        """The stages that measure its documents and decide about them."""
        return evaluate.CorpusDecisions(self.score, self.filter, self.dedup)


def corpus_graph(recipe: CorpusRecipe, path: Path, earlier: Recipes | None = None) -> Graph:
    """The graph of one corpus recipe at `path`. `earlier`: recipes that its `dedup.against` names, if they are known
    (from a lock). Raises RecipeError if an input is missing."""
    with_against = with_earlier({recipe.name: (path, recipe)}, earlier or {})
    require_fit(with_against)
    fingerprints = fingerprint_corpora(with_against)
    corpus = build_corpora(with_against, fingerprints)[recipe.name]
    return Graph(recipe.name, _by_id(corpus.stages), _lock_corpora(with_against, [recipe.name], fingerprints))


def run_graph(run: RunRecipe, recipes: Recipes, path: Path, earlier: Recipes | None = None) -> Graph:
    """The graph of the run recipe at `path`; `recipes` are its corpora by name with the file each came from; `earlier`
    as in `corpus_graph`. Raises RecipeError if the run cannot work, or an input is missing."""
    with_against = with_earlier(recipes, earlier or {})
    require_fit(with_against, run, path)
    folder = path.parent
    fingerprints = fingerprint_corpora(with_against)
    with mistakes_of(path):
        tokenizer = tokenize.fingerprint(run.tokenizer, folder)
        weights = train.fingerprint(run, model_config(run), folder)
    corpora = build_corpora(with_against, fingerprints)
    with mistakes_of(path):
        stages = chain(run, {name: corpora[name] for name in recipes}, tokenizer, folder, weights)
    return Graph(run.name, stages, lock_run(run, with_against, list(recipes), fingerprints, tokenizer, folder, weights))


def with_earlier(recipes: Recipes, at_hand: Recipes) -> dict[str, tuple[Path, CorpusRecipe]]:
    """`recipes` and those that they need, for `dedup.against` or as made documents: from `at_hand`, or from
    `<name>.toml` in the recipe's folder.

    Raises RecipeError."""
    complete = dict(recipes)
    waiting = list(recipes.values())
    while waiting:
        path, recipe = waiting.pop()
        for name in recipe.needed_corpora:
            if name not in complete:
                complete[name] = at_hand[name] if name in at_hand else _neighbour_recipe(path, recipe, name)
                waiting.append(complete[name])
    return complete


def fingerprint_corpora(recipes: Recipes) -> dict[str, dict[str, Any]]:
    """The fingerprint of the inputs of each corpus, by name. Raises RecipeError if one is missing."""
    return {name: _fingerprint(recipe, path) for name, (path, recipe) in recipes.items()}


def build_corpora(recipes: Recipes, fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Corpus]:
    """Every corpus by name, those that others need before them. Raises RecipeError."""
    built: dict[str, Corpus] = {}

    def build(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            around = " -> ".join([*above[above.index(name) :], name])
            field = _field_of(recipes[above[-1]][1], name)
            raise RecipeError(f"{recipes[name][0]}: {field} goes in a circle: {around}. Take one of them out.")
        if name not in built:
            path, recipe = recipes[name]
            for earlier in recipe.needed_corpora:
                build(earlier, (*above, name))
            with mistakes_of(path):
                built[name] = _corpus(recipe, fingerprints[name], path.parent, built)

    for name in recipes:
        build(name, ())
    return built


def lock_run(
    run: RunRecipe,
    with_against: Recipes,
    own: list[str],
    fingerprints: Mapping[str, Mapping[str, Any]],
    tokenizer: Mapping[str, Any],
    folder: Path,
    weights: train.RunWeights,
) -> Lock:
    """The lock of a run in `folder`; of the `known` recipes it has `own`, the others are earlier corpora."""
    corpora = _lock_corpora(with_against, own, fingerprints)
    folders = {**corpora.folders, "": str(folder.resolve())}
    pinned = weights.params()
    return replace(corpora, run=run, tokenizer=tokenizer, weights=pinned, folders=folders)


def _lock_corpora(with_against: Recipes, own: list[str], fingerprints: Mapping[str, Mapping[str, Any]]) -> Lock:
    recipes = {name: recipe for name, (_, recipe) in with_against.items()}
    earlier = {name: recipe for name, recipe in recipes.items() if name not in own}
    folders = {name: str(path.parent.resolve()) for name, (path, _) in with_against.items()}
    return Lock(None, {name: recipes[name] for name in own}, fingerprints, folders, earlier)


def chain(
    run: RunRecipe,
    corpora: Mapping[str, Corpus],
    fingerprints: Mapping[str, Any],
    folder: Path,
    weights: train.RunWeights,
) -> dict[str, Stage]:
    """Every stage of a run over its `corpora` by id, inputs first, the report last. `fingerprints` fix its
    tokenizer, and it begins with `weights`."""
    texts = {name: corpus for name, corpus in corpora.items() if name not in conversation_corpora(run)}
    if run.tokenizer.path:
        tokenizer = tokenize.existing_tokenizer_stage(run.tokenizer, fingerprints, folder)
    else:
        documents = {name: corpus.training_documents for name, corpus in texts.items()}
        tokenizer = tokenize.tokenizer_stage(run.tokenizer, documents)
    tokens = {
        name: tokenize.stage(name, run.tokenize, tokenize.TokenizeInputs(tokenizer, corpus.training_documents))
        for name, corpus in texts.items()
    }
    stages: list[Stage] = [stage for corpus in corpora.values() for stage in corpus.stages]
    asked = _asked(texts, tokenizer, tokens)
    phases = _phases(run, texts, asked, tokens, folder, weights)
    stages += [tokenizer, *tokens.values(), *phases]
    chats = {name: corpora[name].training_documents for name in conversation_corpora(run)}
    stages += finetune_stages(run, chats, tokens, asked, _measured(run, phases), weights.bases, folder)
    built = {stage.id: stage for stage in topological_order(stages)}
    documents = {name: corpus.training_documents for name, corpus in corpora.items()}
    stages += export_stages(run, documents, built)
    built = {stage.id: stage for stage in topological_order(stages)}
    stages += own_stages(run.stages, built, "", folder).values()
    built = _by_id(stages)
    return _by_id([*stages, *_report(run, built)])


def _report(run: RunRecipe, built: Mapping[str, Stage]) -> list[Stage]:
    """The page about a run; without phases, that of its evaluations."""
    if run.phases:
        return [report.stage(run.name, built)]
    evaluations = {stage.subject: stage for stage in built.values() if stage.name == "evaluate"}
    compared = evaluate.comparison_stage(evaluations)
    return [compared, evaluation_page(run.name, compared, evaluations)]


def _asked(corpora: Mapping[str, Corpus], tokenizer: Stage, tokens: Mapping[str, Stage]) -> evaluate.PhaseInputs[Stage]:
    """The data on which every checkpoint of a run is evaluated; `train` is replaced by the checkpoint."""
    questions = {name: corpus.source for name, corpus in corpora.items() if corpus.has_questions}
    decisions = {name: corpus.decisions for name, corpus in corpora.items()}
    return evaluate.PhaseInputs(tokenizer, tokenizer, tokens, questions, decisions)


def _measured(run: RunRecipe, phases: list[Stage]) -> dict[str, Measured]:
    """The phases by name, from the stages of all."""
    by_id = _by_id(phases)
    numbers = {phase.name: number for number, phase in enumerate(run.phases, start=1)}
    return {name: Measured(by_id[f"train[{n}]"], by_id[f"evaluate[{n}]"]) for name, n in numbers.items()}


def _phases(
    run: RunRecipe,
    corpora: Mapping[str, Corpus],
    asked: evaluate.PhaseInputs[Stage],
    tokens: Mapping[str, Stage],
    folder: Path,
    weights: train.RunWeights,
) -> list[Stage]:
    scored = {name: corpus.score for name, corpus in corpora.items()}
    deduped = {name: corpus.dedup for name, corpus in corpora.items()}
    stages: list[Stage] = []
    evaluated: Stage | None = None
    mixed: Stage | None = None
    trained: Stage | None = None
    base, packed = run.tokenize.sequence_length, {run.tokenize.sequence_length: tokens}
    for number, (phase, length) in enumerate(zip(run.phases, run.sequence_lengths, strict=True), start=1):
        if length not in packed:
            packed[length] = {name: tokenize.repack_stage(name, length, stage) for name, stage in packed[base].items()}
        tokens = packed[length]
        order = mix.MixInputs(tokens, scored, deduped, mixed)
        mixes = _mixes(run, number, phase, mix.Lengths(length, base), order)
        mixed = mixes[-1]
        read = train.TrainInputs(mixed, tokens, trained)
        model = phase_config(run, number).to_dict()
        initial = weights.initial if number == 1 else None
        trained = train.stage(number, segment_settings(run, number), model, read, initial, mixes)
        inputs = replace(asked, train=trained, tokens=tokens, previous=evaluated)
        curve = curve_stages(run, number, folder, inputs, run.segments[number - 1])
        evaluated = evaluate.stage(str(number), phase.name, run.evaluate, folder, inputs)
        stages += [mixed, trained, *curve, evaluated]
    return stages


def _mixes(
    run: RunRecipe, number: int, phase: PhaseSection, lengths: mix.Lengths, inputs: mix.MixInputs[Stage]
) -> list[Stage]:
    """The order of a phase as it is with its first segment, the first two and so on: each amendment of weights changes
    the rest."""
    data = [segment.data for segment in run.segments[number - 1]]
    amendments = [[each for each in data[:count] if each] for count in range(1, len(data) + 1)]
    return [mix.stage(number, phase, run.mix, lengths, inputs, each) for each in amendments]


def segment_settings(run: RunRecipe, number: int) -> list[train.SegmentSettings]:
    """The settings of phase `number`, from its start and from each amendment in it on."""
    return [
        train.SegmentSettings(
            each.first_step,
            each.first_tokens,
            each.train,
            schedule(run, number, each.train),
            each.data.as_params() if each.data else {},
        )
        for each in run.segments[number - 1]
    ]


def schedule(run: RunRecipe, number: int, section: TrainSection) -> dict[str, Any]:
    """Points of the learning-rate schedule of `section`, in tokens since the start, as far as phase `number` reaches
    them: a later phase that grows or shrinks leaves the stages before the decay as they are. A cosine falls from the
    end of warm-up on, so there every stage depends on the whole run's length."""
    total = sum(phase.tokens for phase in run.phases)
    if section.schedule == "cosine":
        start = min(section.warmup_tokens, total)
        return _points(section.warmup_tokens, start, total) | {"decay": "cosine"}
    end_of_phase = sum(phase.tokens for phase in run.phases[:number])
    start = total - int(total * section.decay_fraction)
    return _points(section.warmup_tokens, start, total) if end_of_phase > start else _points(section.warmup_tokens)


def _points(warmup: int, start: int | None = None, end: int | None = None) -> dict[str, Any]:
    return {"warmup_tokens": warmup, "decay_start_tokens": start, "decay_end_tokens": end}


def _neighbour_recipe(path: Path, reader: CorpusRecipe, name: str) -> tuple[Path, CorpusRecipe]:
    """The recipe of corpus `name`, which `reader` at `path` needs."""
    file = path.parent / f"{name}.toml"
    field = _field_of(reader, name)
    if not file.is_file():
        raise RecipeError(
            f"{path}: {field} has {name!r}, which is no corpus of this run, and {file} does not exist. "
            "Name a corpus of the run, or bring its recipe there."
        )
    recipe = load_corpus(file)
    if recipe.name != name:
        raise RecipeError(f"{file}: name = {recipe.name!r}, but {path} has it in {field} as {name!r}. Use one name.")
    return file, recipe


def _field_of(reader: CorpusRecipe, name: str) -> str:
    """The field by which `reader` needs corpus `name`."""
    return "dedup.against" if name in reader.dedup.against else reader.source.read_corpora[name]


def _fingerprint(recipe: CorpusRecipe, path: Path) -> dict[str, Any]:
    """Plain data that fixes every file and class that the corpus recipe at `path` names. Raises RecipeError."""
    folder = path.parent
    with mistakes_of(path):
        scores = [column.name for column in score.score_columns(recipe.score, folder)]
        fingerprints = source.fingerprint(recipe.source, folder)
        fingerprints["score"] = score.fingerprint(recipe.score, folder)
        fingerprints["filter"] = filter_.fingerprint(recipe.filter, folder, scores)
        if recipe.dedup.semantic:
            fingerprints["dedup"] = dedup.fingerprint(recipe.dedup, folder)
        return fingerprints


def _corpus(recipe: CorpusRecipe, fingerprints: Mapping[str, Any], folder: Path, built: Mapping[str, Corpus]) -> Corpus:
    made = {corpus: built[corpus].annotate for corpus in recipe.needed_corpora}
    sourced = source.stage(recipe.name, recipe.source, {"inputs": fingerprints["inputs"]}, folder, made)
    scored = score.stage(recipe.name, recipe.score, fingerprints["score"], folder, sourced)
    annotated = {section.name: annotate.stage(recipe.name, section, sourced) for section in recipe.annotate}
    limited = {limit.annotation: annotated[limit.annotation] for limit in recipe.filter.labels}
    read = filter_.FilterInputs(sourced, scored, limited)
    filtered = filter_.stage(recipe.name, recipe.filter, fingerprints["filter"], folder, read)
    against = {name: dedup.Deduplicated(built[name].source, built[name].dedup) for name in recipe.dedup.against}
    deduped = dedup.stage(
        recipe.name, recipe.dedup, fingerprints.get("dedup", {}), folder, dedup.DedupInputs(sourced, filtered, against)
    )
    has_questions = bool(source.question_kinds(recipe.source, folder))
    chain_stages = _by_id([sourced, scored, *annotated.values(), filtered, deduped])
    own = own_stages(recipe.stages, chain_stages, recipe.name, folder)
    return Corpus(sourced, scored, filtered, deduped, has_questions, annotated, tuple(own.values()))


def _by_id(stages: list[Stage] | tuple[Stage, ...]) -> dict[str, Stage]:
    return {stage.id: stage for stage in stages}
