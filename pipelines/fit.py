"""Whether a recipe can work, before anything runs: the one check that plan, run, submit, size and ablate share.

`data_recipes` refuses what one page shows to be wrong, such as a fraction above 1. The rules here span pages, or need
what only the model or a stage knows. Each rule and its sentence exist once.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.export.capabilities import inexpressible
from arctic_model.export.formats import FORMATS
from arctic_model.presets import preset
from arctic_model.sizing.flops import num_mlps
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.training.optimization import MODEL_PARTS
from data_recipes import CorpusRecipe, RecipeError, RunRecipe
from data_recipes.annotation import label_mistake
from data_recipes.explain import did_you_mean
from data_recipes.finetuning import FinetuneSection
from data_recipes.inputs import AnnotatedInput, TextToSqlInput
from data_recipes.refining import FilterSection
from data_recipes.schema import StageSection
from data_recipes.section import ExtensionSection
from pipelines.artifacts.scores import SCORES
from pipelines.artifacts.sequence_order.due_order import MAX_POSITIONS
from pipelines.artifacts.tokenizer import CHAT_END, CHAT_START
from pipelines.context import context_mistakes, with_context
from pipelines.evaluate.suites import unknown_task
from pipelines.score import score_columns
from pipelines.score.text.stop_words import STOP_WORDS
from pipelines.train.from_recipe import parallel_config

Recipes = Mapping[str, tuple[Path, CorpusRecipe]]
"""Corpus recipes by name, each with the file it came from."""
PLACES = {
    **{field.name: "train." for field in fields(ParallelConfig)},
    **{field.name: "model.overrides." for field in fields(ArcticConfig)},
    "sequence_length": "tokenize.",
    "preset": "model.",
}
"""The section of a recipe that sets each number of a model and its training."""


def _numeric(columns: Iterable[pa.Field]) -> list[str]:
    return [column.name for column in columns if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)]


NUMERIC_SCORES = _numeric(SCORES)
MEASURED_WITH = {"quality": "quality_model", "contamination": "decontaminate", "listed_words": "word_lists"}
"""Scores that are 0 on every document unless a field of `[score]` is set."""
LIMITS = {"quality": "min_quality", "contamination": "max_contamination", "listed_words": "max_listed_words"}
"""The limits of `[filter]` on those scores."""


def require_fit(corpora: Recipes, run: RunRecipe | None = None, path: Path = Path()) -> None:
    """Raise RecipeError, with a line for every mistake, if recipes cannot work.

    Args:
        corpora: the corpus recipes, those of the run or of the one corpus to build.
        run: the run recipe, if there is one.
        path: the file of the run recipe.
    """
    recipes = {name: corpus for name, (_, corpus) in corpora.items()}
    lines = [f"{file}: {mistake}" for file, corpus in corpora.values() for mistake in _corpus_mistakes(corpus)]
    lines += [f"{file}: {mistake}" for file, corpus in corpora.values() for mistake in _unmade(corpus, recipes)]
    if run:
        own = {name: _own_scores(corpus, file) for name, (file, corpus) in corpora.items() if corpus.score.scorers}
        lines += [f"{path}: {mistake}" for mistake in _run_mistakes(run, recipes, own, path.parent)]
    if lines:
        raise RecipeError("\n".join(lines))


@contextmanager
def mistakes_of(path: Path) -> Iterator[None]:
    """A RecipeError that is raised inside, about a file that the recipe at `path` names, gets the recipe's name."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def model_config(run: RunRecipe) -> ArcticConfig:
    """The architecture that `run` trains: its preset with the tokenizer's vocabulary and the overrides. Raises
    ConfigError if it contradicts itself."""
    return preset(run.model.preset, {"vocab_size": run.tokenizer.vocab_size, **run.model.overrides})


def phase_config(run: RunRecipe, number: int) -> ArcticConfig:
    """The architecture in phase `number`, from 1. Raises ConfigError if it contradicts itself."""
    return with_context(model_config(run), run, number)


def run_parallel_config(run: RunRecipe) -> ParallelConfig:
    """How `run` divides its training over workers. Raises ConfigError."""
    return parallel_config(run.train, run.tokenize.sequence_length)


def has_heldout(corpora: Iterable[CorpusRecipe]) -> bool:
    """Whether any corpus keeps documents from training, to measure bits per byte on."""
    return any(
        corpus.source.heldout_fraction > 0
        or any(isinstance(item, TextToSqlInput | ExtensionSection) for item in corpus.source.inputs)
        for corpus in corpora
    )


def _own_scores(corpus: CorpusRecipe, path: Path) -> list[str]:
    """Numeric scores of the user's own scorers. Raises RecipeError if one of them cannot be used."""
    with mistakes_of(path):
        return [name for name in _numeric(score_columns(corpus.score, path.parent)) if name not in NUMERIC_SCORES]


def _run_mistakes(
    run: RunRecipe, corpora: Mapping[str, CorpusRecipe], own_scores: Mapping[str, list[str]], folder: Path
) -> Iterator[str]:
    yield from _model_mistakes(run)
    yield from _mix_mistakes(run, corpora, own_scores)
    yield from _finetune_mistakes(run, corpora)
    yield from _evaluation_mistakes(run, corpora)
    yield from _chat_mistakes(run, folder)
    yield from _export_mistakes(run)
    yield from _own_stage_mistakes(run.stages, _stage_ids(run, corpora), "")


def _model_mistakes(run: RunRecipe) -> Iterator[str]:
    try:
        config = model_config(run)
        run_parallel_config(run).validate(config)
    except ConfigError as error:
        yield error.text({**dict.fromkeys(run.model.overrides, "model.overrides."), **PLACES})
        return
    yield from _idle_fields(run, config)
    mistakes = list(context_mistakes(run, config))
    yield from mistakes
    if mistakes:
        return
    yield from _segment_mistakes(run, config)
    if config.vocab_size < run.tokenizer.vocab_size:
        yield (
            f"model.overrides.vocab_size = {config.vocab_size} is less than tokenizer.vocab_size = "
            f"{run.tokenizer.vocab_size}: the model has no row for the other ids. Remove it, or raise it."
        )


def _idle_fields(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Fields of `[train]` about parts that the model does not have."""
    train = run.train
    if config.tied_head and train.head_lr_factor != 1.0:
        yield (
            f"train.head_lr_factor = {train.head_lr_factor:g} with model.overrides.tied_head = True: the head has no "
            "weights of its own. Remove it, or set embedding_lr_factor."
        )
    for name in () if config.num_experts else ("capacity_factor", "balance_bias_rate"):
        if value := getattr(train, name):
            yield f"train.{name} = {value:g} with model.overrides.num_experts = 0: there are no experts. Remove it."


def _segment_mistakes(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Settings of a phase or of an amendment that workers, experts or dtypes do not allow."""
    places = {**dict.fromkeys(run.model.overrides, "model.overrides."), **PLACES}
    frozen = [("train.", run.train.freeze)]
    for number, (phase, segments) in enumerate(zip(run.phases, run.segments, strict=True), start=1):
        own = dict.fromkeys(phase.train, f"phases.{number}.train.")
        for segment in segments:
            for index, amendment in enumerate(run.amendments, start=1):
                if segments[0].first_step <= amendment.from_step <= segment.first_step:
                    own |= dict.fromkeys(amendment.train, f"amendments.{index}.train.")
            try:
                parallel_config(segment.train, run.sequence_lengths[number - 1]).validate(phase_config(run, number))
            except ConfigError as error:
                yield error.text({**places, **own})
            frozen.append((own.get("freeze", "train."), segment.train.freeze))
    yield from dict.fromkeys(
        f"{place}freeze = {parts}: {mistake}" for place, parts in frozen for mistake in _frozen_mistakes(parts, config)
    )


def _frozen_mistakes(freeze: Sequence[str], config: ArcticConfig) -> Iterator[str]:
    """Parts that the model does not have, and a model of which nothing is left to train."""
    lacking = {
        **({} if config.num_experts else dict.fromkeys(("router", "experts"), "num_experts = 0")),
        **({} if num_mlps(config) else {"dense": f"layer_shape = {config.layer_shape!r}"}),
        **({"head": "tied_head = True"} if config.tied_head else {}),
    }
    for part in freeze:
        if part in lacking:
            yield f"the model has no weights of the part {part!r}, as model.overrides.{lacking[part]}. Remove it."
    if {*freeze, *lacking} == {*MODEL_PARTS}:
        yield "nothing is left to train. Remove a part."


def _mix_mistakes(
    run: RunRecipe, corpora: Mapping[str, CorpusRecipe], own_scores: Mapping[str, list[str]]
) -> Iterator[str]:
    for number, (phase, length) in enumerate(zip(run.phases, run.sequence_lengths, strict=True), start=1):
        num_sequences = phase.tokens // length
        if num_sequences > MAX_POSITIONS:
            yield (
                f"phases.{number}.tokens = {phase.tokens}: a phase orders up to {MAX_POSITIONS} sequences, this one "
                f"has {num_sequences}. Split it."
            )
        field = f"phases.{number}.order_by = {phase.order_by!r}"
        amended = [name for each in run.segments[number - 1] if each.data for name in each.data.corpora]
        read = sorted({*phase.corpora, *amended})
        common = set.intersection(*(set(own_scores.get(name, ())) for name in read))
        columns = [*NUMERIC_SCORES, *sorted(common)]
        if phase.order_by and phase.order_by not in columns:
            hint = did_you_mean(phase.order_by, columns) or f"Choose one of {', '.join(columns)}."
            yield f"{field}: the stage score has no such numeric column. {hint}"
        elif phase.order_by:
            for name in read:
                yield from (f"{field}: {mistake}" for mistake in _unmeasured(phase.order_by, name, corpora[name]))
    for name, power in run.mix.quality_power.items():
        for mistake in _unmeasured("quality", name, corpora[name]):
            yield f"mix.quality_power.{name} = {power:g}: {mistake}"


def _finetune_mistakes(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
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
    for item in corpus.source.inputs:
        if item.kind in CHAT_KINDS and phase:
            yield (
                f"phases.{phase} reads this corpus as documents. Give the conversations a corpus recipe of their own."
            )
        elif item.kind not in CHAT_KINDS and (section.preference or not phase):
            yield (
                f"the corpus has an input of kind {item.kind}, whose documents are no conversations. Name a corpus of "
                f"the kind {' or '.join(CHAT_KINDS)}."
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
    with suppress(ConfigError):
        # What is wrong with the architecture has a line of its own.
        config = model_config(run)
        if (
            section.lora
            and section.lora.targets == ["dense"]
            and not any(map(config.has_mlp, range(config.num_layers)))
        ):
            yield 'lora.targets = ["dense"]: the model has no dense MLP, so there is nothing to train. Add "attention".'
    step_tokens = run.tokenize.sequence_length * train.global_batch_sequences
    if section.tokens is not None and section.tokens % step_tokens:
        nearest = max(1, round(section.tokens / step_tokens)) * step_tokens
        yield (
            f"tokens = {section.tokens} is not a whole number of steps of {step_tokens} tokens (sequence_length x "
            f"global_batch_sequences). Use {nearest}."
        )


def _evaluation_mistakes(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    evaluate = run.evaluate
    for number, name in enumerate(evaluate.tasks, start=1):
        if isinstance(name, str) and (mistake := unknown_task(name)):
            yield f"evaluate.tasks.{number} = {mistake}"
    asks_sql = any(isinstance(item, TextToSqlInput) for corpus in corpora.values() for item in corpus.source.inputs)
    if evaluate.text_to_sql_questions and not asks_sql:
        yield (
            f"evaluate.text_to_sql_questions = {evaluate.text_to_sql_questions}, but no corpus of this run has an "
            "input of kind text_to_sql. Add such a corpus, or set 0."
        )
    if not (evaluate.tasks or evaluate.text_to_sql_questions or has_heldout(corpora.values())):
        yield (
            f"evaluate.heldout_bytes_per_corpus = {evaluate.heldout_bytes_per_corpus}: every corpus has "
            "source.heldout_fraction = 0, and there are no tasks, so nothing would be measured. Hold documents out."
        )


def _chat_mistakes(run: RunRecipe, folder: Path) -> Iterator[str]:
    """A tokenizer that a run trains has a chat template; one that is loaded has it if it knows the marks."""
    file = folder / run.tokenizer.path
    if not run.tokenizer.path or not file.is_file():
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    if all(mark in text for mark in (CHAT_START, CHAT_END)):
        return
    fault = f"{run.tokenizer.path} has no tokens {CHAT_START} and {CHAT_END}, so it gets no chat template."
    if run.evaluate.chat == "always":
        yield f"evaluate.chat = 'always': {fault} Use 'auto' or 'never'."
    for number, section in enumerate(run.finetune, start=1):
        yield f"finetune.{number}.name = {section.name!r}: {fault} Take a tokenizer that has them."


def _export_mistakes(run: RunRecipe) -> Iterator[str]:
    names = [section.name for section in run.export]
    for number, section in enumerate(run.export, start=1):
        if section.name in names[: number - 1]:
            yield f"export.{number}.name = {section.name!r}: an export above has this name. Choose another one."
        available = [f"train[{phase}]" for phase, _ in enumerate(run.phases, start=1)]
        available += [f"finetune[{tune.name}]" for tune in run.finetune]
        if section.checkpoint and section.checkpoint not in available:
            hint = did_you_mean(section.checkpoint, available) or f"There are {', '.join(available)}."
            yield f"export.{number}.checkpoint = {section.checkpoint!r}: no stage with a checkpoint. {hint}"
        dtypes = list(FORMATS[section.to].max_kl)
        if section.dtype and section.dtype not in dtypes:
            yield f"export.{number}.dtype = {section.dtype!r}: {section.to} has {', '.join(dtypes)}. Use one of them."
        with suppress(ConfigError):
            # What is wrong with the architecture has a line of its own.
            lines = inexpressible(model_config(run), section.to, section.dtype or dtypes[0])
            yield from (f"export.{number}.{line}" for line in lines)


CHAT_KINDS = ("chat", "text_to_sql_chat")
"""Kinds of input whose documents are conversations."""
CORPUS_STAGES = ("source", "score", "filter", "dedup")
PHASE_STAGES = ("mix", "train", "evaluate")
FINETUNE_STAGES = ("mix", "finetune", "evaluate")
RESERVED = frozenset(
    (*CORPUS_STAGES, "annotate", "tokenizer", "tokenize", *PHASE_STAGES, "finetune", "export", "report", "ablate")
)
"""Names of the stages of the chain."""


def _own_stage_mistakes(sections: Sequence[StageSection], stage_ids: Sequence[str], subject: str) -> Iterator[str]:
    """Names and inputs that the stages of the user's own cannot have, beside those with `stage_ids`."""
    available = list(stage_ids)
    for number, section in enumerate(sections, start=1):
        if section.name in RESERVED or section.name in (other.name for other in sections[: number - 1]):
            owner = "a stage of the chain has" if section.name in RESERVED else "a stage above has"
            yield f"stages.{number}.name = {section.name!r}: {owner} this name. Choose another one."
        yield from unknown_inputs(number, section, available)
        available.append(f"{section.name}[{subject}]" if subject else section.name)


def unknown_inputs(number: int, section: StageSection, available: Collection[str]) -> Iterator[str]:
    """Inputs of stage `number` of the user's own that are not among the `available` ids."""
    for index, stage_id in enumerate(section.inputs, start=1):
        if stage_id not in available:
            hint = did_you_mean(stage_id, available) or f"There are {', '.join(available)}."
            yield f"stages.{number}.inputs.{index} = {stage_id!r}: no such stage. {hint}"


def _stage_ids(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> list[str]:
    """Ids of all stages of a run but the report."""
    tuned = {section.tokens_name(corpus): corpus for section in run.finetune for corpus in section.corpora}
    ids = [stage_id for corpus in corpora.values() for stage_id in _corpus_stage_ids(corpus)]
    ids += [f"tokenize[{subject}]" for subject in {**dict.fromkeys(set(corpora) - set(tuned.values())), **tuned}]
    own = [f"{section.name}[{name}]" for name, corpus in corpora.items() for section in corpus.stages]
    phases = [f"{name}[{number}]" for number, _ in enumerate(run.phases, start=1) for name in PHASE_STAGES]
    finetunes = [f"{name}[{section.name}]" for section in run.finetune for name in FINETUNE_STAGES]
    exports = [f"export[{section.name}]" for section in run.export]
    return [*ids, *own, "tokenizer", *phases, *finetunes, *exports]


def _unmade(corpus: CorpusRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    """Documents that no annotation makes."""
    for number, item in enumerate(corpus.source.inputs, start=1):
        if not isinstance(item, AnnotatedInput):
            continue
        sections = {section.name: section for section in corpora[item.corpus].annotate}
        field = f"source.inputs.{number}.annotation = {item.annotation!r}"
        if item.annotation not in sections:
            yield f"{field}: the corpus {item.corpus} has none of this name. Name one of {sorted(sections)}."
        elif not sections[item.annotation].documents:
            yield f"{field}: it makes labels, no documents. Set its field `documents`."


def _corpus_stage_ids(corpus: CorpusRecipe) -> list[str]:
    annotated = [f"annotate[{corpus.name}.{section.name}]" for section in corpus.annotate]
    return [*(f"{name}[{corpus.name}]" for name in CORPUS_STAGES), *annotated]


def _corpus_mistakes(corpus: CorpusRecipe) -> Iterator[str]:
    limits = corpus.filter
    yield from _own_stage_mistakes(corpus.stages, _corpus_stage_ids(corpus), corpus.name)
    mistakes = (label_mistake(label, corpus.annotate) for label in limits.labels)
    yield from (f"filter.labels.{number}.{mistake}" for number, mistake in enumerate(mistakes, start=1) if mistake)
    for number, language in enumerate(limits.languages, start=1):
        if language not in _languages():
            yield (
                f"filter.languages.{number} = {language!r}: no language that is detected. "
                f"Choose one of {', '.join(_languages())}."
            )
    for number, region in enumerate(corpus.score.phone_regions, start=1):
        if region not in _phone_regions():
            yield (
                f"score.phone_regions.{number} = {region!r}: no region with a numbering plan. "
                "Use an ISO 3166 code in capitals, such as DE."
            )
    if limits.min_stop_words > (most := max(map(len, STOP_WORDS.values()))):
        yield (
            f"filter.min_stop_words = {limits.min_stop_words}: no language has more than {most} on its list, so every "
            "document would be dropped. Lower it."
        )
    for score, limit in LIMITS.items():
        value = getattr(limits, limit)
        if value != FilterSection.model_fields[limit].default:
            yield from (f"filter.{limit} = {value}: {mistake}" for mistake in _unmeasured(score, "", corpus))


def _unmeasured(score: str, name: str, corpus: CorpusRecipe) -> Iterator[str]:
    """The mistake of using `score` where nothing measures it."""
    field = MEASURED_WITH.get(score)
    if field and not getattr(corpus.score, field):
        whose = f"the corpus {name}" if name else "this corpus"
        yield f"the score {score} is 0 on every document, as {whose} has no score.{field}. Set that, or remove this."


def _languages() -> list[str]:
    # Imported here, as are phone regions: few recipes name one, and every plan would wait for the library.
    from resiliparse.parse.lang import supported_langs

    return [*supported_langs(), "unknown"]


def _phone_regions() -> frozenset[str]:
    import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)
