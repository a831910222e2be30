"""The stage: the checkpoint, its tasks, and the inputs of the result. After a phase of a run, or of any checkpoint
alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_recipes.section import RecipeError
from data_recipes.sections.evaluation import EvaluateSection
from infra.artifact import Artifact
from infra.context import StageContext
from infra.host.provenance import code_digest
from infra.inputs import Inputs, Node
from infra.resources import Resources
from infra.stage import Early, Metrics, Stage
from pipelines.artifacts.checkpoint import Finetuned, checkpoint_folder
from pipelines.evaluate.engine.execution import Execution
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.statistics.contamination import CorpusFindings
from pipelines.evaluate.suites import Suite

if TYPE_CHECKING:
    from pipelines.evaluate.asking.protocol import Respondent
    from pipelines.evaluate.tasks.text_to_sql import TextToSql
    from pipelines.models.source import ModelSource

VERSION = 17
TOKENS = "eval/tokens"
"""Metric with the tokens that the checkpoint was trained on, the step of all scores in MLflow."""


@dataclass(frozen=True)
class CorpusDecisions(Inputs[Node]):
    """The documents of a corpus, with their scores and the decisions about them."""

    score: Node
    filter: Node
    dedup: Node


@dataclass(frozen=True)
class PhaseInputs(Inputs[Node]):
    """The checkpoint and its tokenizer; by corpus, packed tokens, sources with SQL questions, and decisions about its
    documents; and the evaluation of the phase before."""

    train: Node
    tokenizer: Node
    tokens: Mapping[str, Node]
    source: Mapping[str, Node] = field(default_factory=dict)
    corpora: Mapping[str, CorpusDecisions[Node]] = field(default_factory=dict)
    previous: Node | None = None


@dataclass(frozen=True)
class CheckpointInputs(Inputs[Node]):
    """The evaluation that a checkpoint from a folder is compared with."""

    previous: Node | None = None


@dataclass(frozen=True)
class Origin:
    """A store's metadata of a checkpoint: `key` of the result that holds it, "" if none does, and the folder of the
    `tokenizer` that it was made with, None if no store has it."""

    key: str = ""
    tokenizer: Path | None = None


UNKNOWN = Origin()
"""Of a checkpoint that no store knows."""


def stage(
    subject: str,
    phase_name: str,
    section: EvaluateSection,
    folder: Path,
    inputs: PhaseInputs[Stage],
    early: Early | None = None,
) -> Stage:
    """Score the checkpoint of a phase, whose number is `subject`, or of the fine-tune of this name, on held-out
    documents of every corpus, on the SQL questions that corpora bring, and on the tasks that `section` of a recipe in
    `folder` names. With `early`, score weights that the training saves while it continues, instead of its checkpoint.

    Raises RecipeError if a task is not known.
    """
    suite = _suite(section, folder)
    params = {
        "phase": phase_name,
        "heldout_bytes_per_corpus": section.heldout_bytes_per_corpus,
        "heldout_bytes_per_document": section.heldout_bytes_per_document,
        "text_to_sql_questions": section.text_to_sql_questions,
        "max_new_tokens": section.max_new_tokens,
        "suite": suite.params(),
    }
    if section.stream_window:
        params |= {"stream_window": section.stream_window, "stream_sinks": section.stream_sinks}
    execution = Execution(
        section.num_actors,
        section.cpus_per_actor,
        section.gpus_per_actor,
        section.tokens_per_batch,
        expert_parallel_size=section.expert_parallel_size,
    )
    return Stage(
        name="evaluate",
        subject=subject,
        version=VERSION,
        params=params,
        inputs=_read(section, inputs).named(),
        work=partial(_evaluate_phase, phase_name, section, suite, execution),
        resources=execution.resources,
        packages=suite.packages(),
        machine_dependent=True,
        model_input="" if early else "train",
        step_metric=TOKENS,
        early=early,
    )


def missing_evaluation_data(section: EvaluateSection, folder: Path) -> str:
    """The files that the tasks of a recipe in `folder` lack, with the remedy; "" if all are there. Raises
    RecipeError."""
    lacking = _suite(section, folder).missing_files()
    if not lacking:
        return ""
    root = (folder / section.data_root).resolve()
    tasks = ", ".join(f"{name} ({len(files)} files)" for name, files in lacking.items())
    return f"{tasks}: {root} lacks it, so they will not be measured. Run: arctic eval-data fetch --root {root}"


def _suite(section: EvaluateSection, folder: Path) -> Suite:
    limit, unsafe = section.items_per_task, section.unsafe_execution
    suite = named_suite(section.tasks, folder / section.data_root, limit, unsafe, folder, section.chat)
    if section.system and suite.is_plain and not section.text_to_sql_questions:
        raise RecipeError(
            f"evaluate.system = {section.system!r}: none of evaluate.tasks is asked in the chat. Leave it out, or add "
            "a task such as ifeval."
        )
    sizes = tuple(section.long_context_bytes)
    return replace(suite, long_context_bytes=sizes, numpy=section.numpy_in_programs, system=section.system)


def checkpoint_stage(
    label: str,
    checkpoint: Path,
    tokenizer: Path | None,
    suite: Suite,
    execution: Execution,
    previous: Stage | None = None,
    origin: Origin = UNKNOWN,
) -> Stage:
    """Score the checkpoint in a folder, ours or Hugging Face's, on a suite, and compare it with `previous`.

    `label` names it for people; `tokenizer` is the folder of its tokenizer, if that is neither the one of its `origin`
    nor the one next to it. Raises ValueError if the folder holds no checkpoint, or the tokenizer is another model's or
    lacks the chat template or the place for a system prompt that the suite asks for, CheckpointError if it cannot be
    read.
    """
    # torch takes seconds to import, and building the graph of a run must not.
    from pipelines.evaluate.asking.tokenizer_fit import require_fit
    from pipelines.models.source import ModelSource

    source = ModelSource(checkpoint, tokenizer or origin.tokenizer, execution.device, execution.dtype)
    source.require()
    source.require_shareable(execution.expert_parallel_size)
    # A tokenizer that does not fit is reported now, and not after a cluster was started.
    require_fit(source, origin.tokenizer)
    _require_chat(source, suite)
    params = {"model": source.digest(), "suite": suite.params()}
    inputs = CheckpointInputs(previous).named()
    work = partial(_evaluate_checkpoint, label, source, suite, execution)
    return Stage(
        "evaluate",
        label,
        VERSION,
        params,
        inputs,
        work,
        execution.resources,
        packages=(*suite.packages(), *source.packages),
        machine_dependent=True,
        model_key=origin.key,
        step_metric=TOKENS,
        inline=execution.is_inline,
    )


def _require_chat(source: "ModelSource", suite: Suite) -> None:
    """Raise ValueError if `source` cannot be asked in the form that the suite asks for."""
    from pipelines.evaluate.asking.chat import SYSTEM_PROMPT, asked_in_chat, refusal

    in_chat = asked_in_chat(source, suite.chat)
    if suite.system and not in_chat:
        raise ValueError(
            "it is asked as a text to continue, without a system prompt. Leave out --system, or add --chat always."
        )
    if suite.system and (reason := refusal(source, SYSTEM_PROMPT)):
        raise ValueError(reason)


def server_stage(url: str, model: str, suite: Suite) -> Stage:
    """Ask a model behind an OpenAI-compatible server. Its weights are not known: another model under the same name and
    address has the same key."""
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", model).strip("-.")
    return Stage(
        "evaluate",
        label,
        VERSION,
        {"suite": suite.params(), "server": [url, model]},
        {},
        partial(_ask_server, label, url, model, suite),
        Resources(num_cpus=1),
        packages=suite.packages(),
        step_metric=TOKENS,
        inline=True,
    )


def vllm_stage(label: str, source: "ModelSource", suite: Suite) -> Stage:
    """Ask a model that vLLM computes in the process of the stage. Raises ValueError as `checkpoint_stage`."""
    from pipelines.evaluate.asking.vllm_engine import VllmRespondent

    _require_chat(source, suite)
    return Stage(
        "evaluate",
        label,
        VERSION,
        {"model": source.digest(), "suite": suite.params(), "engine": VllmRespondent(source).engine},
        {},
        partial(_ask_vllm, label, source, suite),
        Resources(num_cpus=1),
        packages=(*suite.packages(), *source.packages),
        machine_dependent=True,
        step_metric=TOKENS,
        inline=True,
    )


def rescoring_stage(label: str, folder: Path, key: str, suite: Suite) -> Stage:
    """Judge the answers of an evaluation again by a suite, without the model.

    `folder` holds the result with `key`. Judging also depends on the code, so that is part of the key.
    """
    return Stage(
        "evaluate",
        f"{label}-rescored",
        VERSION,
        {"suite": suite.params(), "stored": key, "code": code_digest(Suite.__module__)},
        {},
        partial(_rescore, label, folder, suite),
        Resources(num_cpus=1),
        packages=suite.packages(),
        step_metric=TOKENS,
        inline=True,
    )


def _read(section: EvaluateSection, inputs: PhaseInputs[Stage]) -> PhaseInputs[Stage]:
    """The inputs that are read, so that a change to anything else leaves the key alone."""
    return replace(
        inputs,
        tokens=dict(sorted(inputs.tokens.items())),
        source=dict(sorted(inputs.source.items())) if section.text_to_sql_questions else {},
        corpora=dict(sorted(inputs.corpora.items())) if section.tasks else {},
    )


def _evaluate_phase(
    phase: str,
    section: EvaluateSection,
    suite: Suite,
    execution: Execution,
    context: StageContext,
    artifacts: Mapping[str, Artifact],
) -> Metrics:
    from arctic_model.inference.streaming import StreamWindow
    from pipelines.evaluate.asking.chat import asked_in_chat
    from pipelines.evaluate.asking.respondents import CheckpointRespondent
    from pipelines.evaluate.measuring import HeldoutLimits, Measuring
    from pipelines.evaluate.tasks.text_to_sql import TextToSql
    from pipelines.models.source import ModelSource

    inputs: PhaseInputs[Artifact] = PhaseInputs.of(artifacts)
    checkpoint = context.early or checkpoint_folder(inputs.train.path)
    source = ModelSource(checkpoint, inputs.tokenizer.path, execution.device, execution.dtype)
    corpora = [CorpusFindings(name, each.score, each.filter, each.dedup) for name, each in inputs.corpora.items()]
    with Measuring(phase, CheckpointRespondent(source, execution), suite, context) as measuring:
        tokens = {name: artifact.path for name, artifact in inputs.tokens.items()}
        stream = StreamWindow(section.stream_window, section.stream_sinks) if section.stream_window else None
        limits = HeldoutLimits(section.heldout_bytes_per_corpus, section.heldout_bytes_per_document, stream)
        measuring.read_heldout(source, execution, tokens, limits)
        if section.text_to_sql_questions:
            sources = tuple(artifact.path for artifact in inputs.source.values())
            chat = asked_in_chat(source, section.chat)
            count, max_new_tokens = section.text_to_sql_questions, section.max_new_tokens
            task = TextToSql(sources, count, max_new_tokens, section.unsafe_execution, chat)
            _warn_of_few_questions(task, context)
            measuring.ask([task], None)
        measuring.ask_suite()
        # A fine-tune is compared with its start, which may not know the chat.
        return measuring.write(corpora, inputs.previous, across_forms=Finetuned.read(checkpoint) is not None)


def _warn_of_few_questions(task: "TextToSql", context: StageContext) -> None:
    if (available := len(task.items())) < task.count:
        context.warn(
            f"evaluate.text_to_sql_questions = {task.count}, but there are only {available}: all are asked. "
            "Raise num_heldout_schemas for more."
        )


def _evaluate_checkpoint(
    label: str,
    source: "ModelSource",
    suite: Suite,
    execution: Execution,
    context: StageContext,
    inputs: Mapping[str, Artifact],
) -> Metrics:
    from pipelines.evaluate.asking.respondents import CheckpointRespondent

    previous = CheckpointInputs.of(inputs).previous
    return _measure_suite(label, CheckpointRespondent(source, execution), suite, context, previous)


def _ask_server(
    label: str,
    url: str,
    model: str,
    suite: Suite,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - the server has all that is needed
) -> Metrics:
    from pipelines.evaluate.asking.openai_server import OpenAIServer, ServerRespondent

    return _measure_suite(label, ServerRespondent(OpenAIServer(url, model)), suite, context)


def _ask_vllm(
    label: str,
    source: "ModelSource",
    suite: Suite,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - none
) -> Metrics:
    from pipelines.evaluate.asking.vllm_engine import VllmRespondent

    return _measure_suite(label, VllmRespondent(source), suite, context)


def _rescore(
    label: str,
    folder: Path,
    suite: Suite,
    context: StageContext,
    inputs: Mapping[str, Artifact],  # noqa: ARG001 - none
) -> Metrics:
    from pipelines.evaluate.asking.respondents import StoredRespondent

    return _measure_suite(label, StoredRespondent(folder), suite, context)


def _measure_suite(
    label: str, respondent: "Respondent", suite: Suite, context: StageContext, previous: Artifact | None = None
) -> Metrics:
    from pipelines.evaluate.measuring import Measuring

    with Measuring(label, respondent, suite, context) as measuring:
        measuring.ask_suite()
        return measuring.write([], previous)
