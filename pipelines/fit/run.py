"""Mistakes of a run recipe with its corpora."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.export.capabilities import inexpressible
from arctic_model.export.formats import FORMATS
from arctic_model.sizing.flops import num_mlps
from arctic_model.sizing.parallel import require_divided_experts
from arctic_model.training.optimization.settings import MODEL_PARTS
from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.explain import did_you_mean
from data_recipes.sections.inputs import TextToSqlInput
from pipelines.artifacts.sequence_order.due_order import MAX_POSITIONS
from pipelines.artifacts.tokenization.tokenizer import CHAT_END, CHAT_START
from pipelines.context import context_mistakes
from pipelines.evaluate.suites import LONG, unknown_task
from pipelines.fit.configs import PLACES, has_heldout, model_config, phase_config, run_parallel_config
from pipelines.fit.finetune import finetune_mistakes
from pipelines.fit.scores import NUMERIC_SCORES, unmeasured
from pipelines.fit.stages import own_stage_mistakes, stage_ids
from pipelines.train.from_recipe import parallel_config


def run_mistakes(
    run: RunRecipe, corpora: Mapping[str, CorpusRecipe], own_scores: Mapping[str, list[str]], folder: Path
) -> Iterator[str]:
    yield from _model_mistakes(run)
    yield from _mix_mistakes(run, corpora, own_scores)
    yield from finetune_mistakes(run, corpora)
    yield from _evaluation_mistakes(run, corpora)
    yield from _chat_mistakes(run, folder)
    yield from _export_mistakes(run)
    yield from own_stage_mistakes(run.stages, stage_ids(run, corpora), "")


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
            for fewest in (False, True):
                try:
                    parallel = parallel_config(segment.train, run.sequence_lengths[number - 1], fewest=fewest)
                    parallel.validate(phase_config(run, number))
                except ConfigError as error:
                    yield error.text({**places, **own})
                    break
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
                yield from (f"{field}: {mistake}" for mistake in unmeasured(phase.order_by, name, corpora[name]))
    for name, power in run.mix.quality_power.items():
        for mistake in unmeasured("quality", name, corpora[name]):
            yield f"mix.quality_power.{name} = {power:g}: {mistake}"


def _evaluation_mistakes(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
    evaluate = run.evaluate
    # A model that contradicts itself is a separate mistake.
    with suppress(ConfigError):
        yield from _shared_expert_mistakes(evaluate.expert_parallel_size, model_config(run))
        yield from _stream_mistakes(run)
    for number, name in enumerate(evaluate.tasks, start=1):
        if isinstance(name, str) and (mistake := unknown_task(name)):
            yield f"evaluate.tasks.{number} = {mistake}"
    if evaluate.long_context_bytes and not {"long_context", *LONG} & {*map(str, evaluate.tasks)}:
        yield (
            f"evaluate.long_context_bytes = {evaluate.long_context_bytes}, but no task reads long texts. Add "
            "long_context to evaluate.tasks, or remove it."
        )
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
    if evaluate.every_tokens and not all(segments[0].train.keep_weights_every_steps for segments in run.segments):
        yield (
            f"evaluate.every_tokens = {evaluate.every_tokens}, but train.keep_weights_every_steps = 0: no weights are "
            "kept to score. Set that to a multiple of train.checkpoint_every_steps."
        )


def _shared_expert_mistakes(expert_parallel_size: int, config: ArcticConfig) -> Iterator[str]:
    """Processes of an evaluation that cannot share the experts of the model."""
    try:
        require_divided_experts(expert_parallel_size, config.num_experts)
    except ConfigError as error:
        yield error.text({"expert_parallel_size": "evaluate.", "num_experts": "model.overrides."})


def _stream_mistakes(run: RunRecipe) -> Iterator[str]:
    """A stream that remembers more than the positions of a phase, or whose experts lie on several processes."""
    evaluate = run.evaluate
    if not evaluate.stream_window:
        if evaluate.stream_sinks != type(evaluate).model_fields["stream_sinks"].default:
            yield f"evaluate.stream_sinks = {evaluate.stream_sinks} without stream_window: not used. Remove it."
        return
    configs = [phase_config(run, number) for number in range(1, len(run.phases) + 1)] or [model_config(run)]
    fewest = min(config.max_positions for config in configs)
    if evaluate.stream_window + evaluate.stream_sinks > fewest:
        yield (
            f"evaluate.stream_window = {evaluate.stream_window} with stream_sinks = {evaluate.stream_sinks}: a phase "
            f"has {fewest} positions. Use at most {fewest - evaluate.stream_sinks}."
        )
    if evaluate.expert_parallel_size > 1:
        yield (
            f"evaluate.stream_window = {evaluate.stream_window} with expert_parallel_size = "
            f"{evaluate.expert_parallel_size}: a stream needs all experts in one process. Set it to 0."
        )


def _chat_mistakes(run: RunRecipe, folder: Path) -> Iterator[str]:
    """A tokenizer that a run trains has a chat template; a loaded one has it if it has the chat marks."""
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
            # Mistakes in the architecture have a separate line.
            lines = inexpressible(model_config(run), section.to, section.dtype or dtypes[0])
            yield from (f"export.{number}.{line}" for line in lines)
