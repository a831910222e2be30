"""Mistakes of the evaluation of a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.sizing.parallel import require_divided_experts
from data_recipes import CorpusRecipe, RunRecipe
from data_recipes.sections.inputs import InputSection
from data_recipes.steering import Segment
from pipelines.evaluate.suites import LONG, unknown_task
from pipelines.fit.configs import has_heldout, model_config, phase_config


def evaluation_mistakes(run: RunRecipe, corpora: Mapping[str, CorpusRecipe]) -> Iterator[str]:
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
    inputs = [item for corpus in corpora.values() for item in corpus.source.inputs]
    asks_sql = any(isinstance(item, InputSection) and item.has_questions for item in inputs)
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
    if evaluate.every_tokens and not any(map(_keeps_weights, run.segments)):
        keep = run.train.keep_weights_every_steps
        yield (
            f"evaluate.every_tokens = {evaluate.every_tokens}, but train.keep_weights_every_steps = {keep}: no weights "
            "are kept before the end of a phase. Set that to a multiple of train.checkpoint_every_steps."
        )


def _keeps_weights(segments: Sequence[Segment]) -> bool:
    """Whether a phase keeps weights before its last step."""
    every, first, last = segments[0].train.keep_weights_every_steps, segments[0].first_step, segments[-1].last_step
    return bool(every) and (last - 1) // every > first // every


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
