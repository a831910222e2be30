"""Mistakes of a run recipe with its corpora."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.export.capabilities import inexpressible
from arctic_model.export.formats import FORMATS
from arctic_model.sizing.flops import num_mlps
from arctic_model.training.optimization.settings import MODEL_PARTS
from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.explain import did_you_mean
from data_recipes.sections.training import TrainSection
from pipelines.artifacts.sequence_order.due_order import MAX_POSITIONS
from pipelines.artifacts.tokenization.tokenizer import CHAT_END, CHAT_START, read_tokenizer
from pipelines.context import context_mistakes
from pipelines.fit.configs import PLACES, model_config, phase_config, run_parallel_config
from pipelines.fit.evaluation import evaluation_mistakes
from pipelines.fit.finetune import finetune_mistakes
from pipelines.fit.scores import NUMERIC_SCORES, unmeasured
from pipelines.fit.segments import placed_segments
from pipelines.fit.stages import own_stage_mistakes, stage_ids
from pipelines.fit.unused import unused_in_run, unused_in_training, unused_overrides
from pipelines.tokenize.vocabulary import SPECIAL_TOKENS
from pipelines.train.from_recipe import parallel_config


def run_mistakes(
    run: RunRecipe, corpora: Mapping[str, CorpusRecipe], own_scores: Mapping[str, list[str]], folder: Path
) -> Iterator[str]:
    yield from _model_mistakes(run)
    yield from unused_in_run(run, corpora)
    yield from _mix_mistakes(run, corpora, own_scores)
    yield from finetune_mistakes(run, corpora)
    yield from evaluation_mistakes(run, corpora)
    yield from _chat_mistakes(run, folder)
    yield from _trained_token_mistakes(run, folder)
    yield from _export_mistakes(run)
    yield from own_stage_mistakes(run.stages, stage_ids(run, corpora), "")


def _model_mistakes(run: RunRecipe) -> Iterator[str]:
    try:
        config = model_config(run)
        run_parallel_config(run).validate(config)
    except ConfigError as error:
        yield error.text({**dict.fromkeys(run.model.overrides, "model.overrides."), **PLACES})
        return
    mistakes = list(context_mistakes(run, config))
    yield from mistakes
    if mistakes:
        return
    yield from _segment_mistakes(run, config)
    yield from unused_overrides(run, config)
    yield from unused_in_training(run, config)
    if config.vocab_size < run.tokenizer.vocab_size:
        yield (
            f"model.overrides.vocab_size = {config.vocab_size} is less than tokenizer.vocab_size = "
            f"{run.tokenizer.vocab_size}: the model has no row for the other ids. Remove it, or raise it."
        )


def _segment_mistakes(run: RunRecipe, config: ArcticConfig) -> Iterator[str]:
    """Settings of the run, of a phase or of an amendment that workers, experts, dtypes or parts do not allow."""
    yield from _frozen_mistakes(run.train, "train.", config)
    for number, train, prefixes in placed_segments(run):
        yield from _layout_mistakes(run, number, train, prefixes)
        yield from _frozen_mistakes(train, prefixes["freeze"], config)


def _layout_mistakes(run: RunRecipe, number: int, train: TrainSection, places: Mapping[str, str]) -> Iterator[str]:
    """Workers that the settings of a segment of phase `number` do not allow."""
    prefixes = {**dict.fromkeys(run.model.overrides, "model.overrides."), **PLACES, **places}
    try:
        for fewest in (False, True):
            parallel = parallel_config(train, run.sequence_lengths[number - 1], fewest=fewest)
            parallel.validate(phase_config(run, number))
    except ConfigError as error:
        yield error.text(prefixes)


def _frozen_mistakes(train: TrainSection, prefix: str, config: ArcticConfig) -> Iterator[str]:
    """Parts that the model does not have, and a model of which nothing is left to train."""
    lacking = {
        **({} if config.num_experts else dict.fromkeys(("router", "experts"), "num_experts = 0")),
        **({} if num_mlps(config) else {"dense": f"layer_shape = {config.layer_shape!r}"}),
        **({"head": "tied_head = True"} if config.tied_head else {}),
    }
    field = f"{prefix}freeze = {train.freeze}"
    for part in train.freeze:
        if part in lacking:
            yield (
                f"{field}: the model has no weights of the part {part!r}, as model.overrides.{lacking[part]}. "
                "Remove it."
            )
    if {*train.freeze, *lacking} == {*MODEL_PARTS}:
        yield f"{field}: nothing is left to train. Remove a part."


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


def _trained_token_mistakes(run: RunRecipe, folder: Path) -> Iterator[str]:
    """Of a tokenizer that the run trains, only the special tokens are known."""
    file = folder / run.tokenizer.path
    if not any(section.trained_tokens for section in run.finetune) or (run.tokenizer.path and not file.is_file()):
        return
    known = read_tokenizer(file).get_vocab() if run.tokenizer.path else SPECIAL_TOKENS
    for number, section in enumerate(run.finetune, start=1):
        for token in section.trained_tokens:
            if token not in known:
                hint = did_you_mean(token, known) or f"Name tokens such as {CHAT_START}."
                place = f"finetune.{number}.lora.trained_tokens = {section.trained_tokens}"
                yield f"{place}: the tokenizer has no token {token!r}. {hint}"


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
