"""The graph that scores checkpoints: a stage for each, so that it is resumed, reused and tracked like every other, then
their comparison and a page about them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from data_recipes.lock import Lock
from data_recipes.section import RecipeError
from data_recipes.sections.evaluation import TaskSection
from infra.artifact import Artifact
from infra.stage import Stage
from infra.store import MANIFEST, Store
from pipelines import evaluate
from pipelines.artifacts.evaluation import SAMPLES_FILE
from pipelines.artifacts.formats.parquet import read_table
from pipelines.errors import OptionError
from pipelines.evaluate.asking.chat import CHATS, Chat
from pipelines.evaluate.asking.openai_server import OpenAIServer
from pipelines.evaluate.from_recipe import named_suite
from pipelines.evaluate.suites import Suite, runs_programs, unknown_task
from pipelines.evaluate.tasks.harness.lm_eval_package import FEWSHOT_SEED
from pipelines.evaluate.tasks.harness.named import PREFIX as HARNESS
from pipelines.graph.chain import Graph
from pipelines.graph.checkpoints import ResolvedCheckpoint, checkpoints_of, resolve_checkpoint
from pipelines.report.evaluation import stage as evaluation_page
from pipelines.sandbox import UNSAFE

DEFAULT_SUITE = "smoke"
FILES_SHOWN = 3
VLLM = "vllm:"
"""Before the folder of a model that vLLM computes."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        checkpoints: Folders of checkpoints: ours, results of train stages, Hugging Face models; or a store, for the
            checkpoints of its latest run.
        suite: Suites and tasks; none for the suite smoke, or with `rescore` for those that were asked.
        root: Folder of the evaluation data.
        limit: Maximum number of items per task; None for all, or with `rescore` for as many as were asked.
        against: Another checkpoint to compare with, item by item.
        tokenizer: Folder of the checkpoints' tokenizer; None for their own.
        rescore: Judge stored answers again: `checkpoints` are then folders of evaluations.
        model: A model of another engine instead of checkpoints: "openai:http://HOST:PORT/v1" behind an
            OpenAI-compatible server, or "vllm:FOLDER" by vLLM in this process.
        num_fewshot: Examples before each question of tasks lm_eval:NAME; None for their pages' own number.
        seed: Of the draw of these examples.
        include: Folder with pages of the user's own for such tasks.
        phase: Phase of the run whose checkpoints are meant, if a store is given; None for all.
        actors: Copies of the model that answer side by side.
        threads: CPU threads of each copy, each of which answers other questions.
        expert_parallel_size: Processes that share the experts of each copy.
        gpus_per_actor: GPUs of each process of a copy.
        dtype: Of the weights on a CPU: "float32", or "stored" for those that a folder has in bfloat16.
        unsafe: The words that allow model-written code to run on a machine that cannot confine it.
        numpy: Let programs that the model writes import numpy.
        against_tokenizer: As `tokenizer`, of `against`.
        chat: Whether to ask in the chat template: "never", "auto" or "always".
        system: System prompt before everything that is asked in it; "" for none.
    """

    checkpoints: tuple[Path, ...]
    suite: tuple[str, ...]
    root: Path
    limit: int | None = None
    against: Path | None = None
    tokenizer: Path | None = None
    actors: int = 1
    threads: int = 1
    expert_parallel_size: int = 1
    gpus_per_actor: float = 0.0
    dtype: Literal["float32", "stored"] = "float32"
    unsafe: str = ""
    numpy: bool = False
    against_tokenizer: Path | None = None
    chat: str = "auto"
    system: str = ""
    phase: int | None = None
    rescore: bool = False
    model: str = ""
    num_fewshot: int | None = None
    seed: int = FEWSHOT_SEED
    include: Path | None = None


def evaluation_graph(options: EvaluationOptions) -> Graph:
    """The graph that scores the checkpoints, and before them the one that they are compared with, compares all of them,
    and writes the page.

    Raises OptionError if a checkpoint, a tokenizer, a task or the data is missing, or a number is out of range.
    """
    _check(options)
    suites = _suites(options)
    for each in suites:
        lacking = each.missing_files()
        if lacking and len(lacking) == len(each.build(chat=False)):
            raise OptionError(f"--suite: no task has its data. {missing_data(options)}")
    if options.rescore:
        rescored = [_rescored(*pair) for pair in zip(dict.fromkeys(options.checkpoints), suites, strict=True)]
        name = f"evaluate-{rescored[-1].subject}"
        return Graph(name, _compared(name, rescored), Lock(None, {}, {}, {}))
    [suite] = suites
    execution = evaluate.Execution(
        options.actors,
        options.threads,
        options.gpus_per_actor,
        expert_parallel_size=options.expert_parallel_size,
        cpu_dtype=options.dtype,
    )
    against = resolve_checkpoint(options.against) if options.against else None
    before = _stage(against, options.against_tokenizer, suite, execution, None) if against else None
    if options.model.startswith(VLLM):
        asked = [_vllm_stage(options.model, suite)]
        return Graph(f"evaluate-{asked[0].subject}", _compared(asked[0].subject, asked), Lock(None, {}, {}, {}))
    if options.model:
        server = OpenAIServer.named(options.model)
        asked = [evaluate.server_stage(server.url, server.model, suite)]
        return Graph(f"evaluate-{asked[0].subject}", _compared(server.model, asked), Lock(None, {}, {}, {}))
    folders = [each for folder in options.checkpoints for each in checkpoints_of(folder, options.phase)]
    checkpoints = [resolve_checkpoint(folder) for folder in dict.fromkeys(folders)]
    evaluations = [_stage(each, options.tokenizer, suite, execution, before) for each in checkpoints]
    name = checkpoints[-1].run or f"evaluate-{evaluations[-1].subject}"
    return Graph(name, _compared(name, [*([before] if before else []), *evaluations]), Lock(None, {}, {}, {}))


def _vllm_stage(name: str, suite: Suite) -> Stage:
    """Raises OptionError if there is no vLLM or no such model."""
    from pipelines.evaluate.asking.vllm_engine import named

    try:
        source = named(name)
        label = re.sub(r"[^A-Za-z0-9_.-]+", "-", source.checkpoint.resolve().name).strip("-.")
        return evaluate.vllm_stage(f"{label}-vllm", source, suite)
    except ValueError as error:
        raise OptionError(f"--model {error}") from error


def _rescored(folder: Path, suite: Suite) -> Stage:
    """The stage that judges the answers of the evaluation in `folder` again."""
    manifest = _evaluation(folder).manifest
    return evaluate.rescoring_stage(manifest.subject, folder.resolve(), manifest.key, suite)


def _evaluation(folder: Path) -> Artifact:
    """The evaluation in a folder. Raises OptionError if there is none."""
    folder = folder.resolve()
    artifact = Store(folder.parents[2]).read(folder) if (folder / MANIFEST).is_file() else None
    if artifact is None or artifact.manifest.name != "evaluate":
        raise OptionError(f"--rescore {folder}: not the result of an evaluation. Give a folder of stages/evaluate.")
    return artifact


def _suites(options: EvaluationOptions) -> list[Suite]:
    """The suite of all checkpoints, or that of each evaluation whose answers are judged again."""
    if not options.rescore:
        return [_suite(options)]
    return [_suite_of(_evaluation(folder), options) for folder in dict.fromkeys(options.checkpoints)]


def _suite_of(evaluation: Artifact, options: EvaluationOptions) -> Suite:
    """The tasks and items that an evaluation asked, as far as the options do not choose others."""
    then = evaluation.manifest.params["suite"]
    answered = read_table(evaluation.path / SAMPLES_FILE, ["task"])["task"].unique().to_pylist()
    names = options.suite or tuple(name for name in answered if name in then["tasks"])
    unnamed = [name for name in names if not options.suite and unknown_task(name)]
    if unnamed:
        raise OptionError(
            f"--rescore {evaluation.path}: it asked {', '.join(unnamed)}, which takes more than this name. Name the "
            "tasks with --suite, as they were asked."
        )
    suite = _suite(replace(options, suite=names, limit=options.limit or then["limit"]))
    return replace(
        suite,
        max_new_tokens=then["max_new_tokens"],
        long_context_bytes=tuple(then.get("long_context_bytes", ())),
        system=then.get("system", ""),
    )


def _compared(title: str, evaluations: Sequence[Stage]) -> dict[str, Stage]:
    """Stages by id: the evaluations, their comparison, and the page. Raises OptionError if two have one name."""
    by_label = {stage.subject: stage for stage in evaluations}
    if len(by_label) < len(evaluations):
        names = [stage.subject for stage in evaluations]
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"{twice}: two checkpoints have this name. Rename a folder, or name each one once.")
    compare = evaluate.comparison_stage(by_label)
    stages = [*evaluations, compare, evaluation_page(title, compare, by_label)]
    return {stage.id: stage for stage in stages}


def missing_data(options: EvaluationOptions) -> str:
    """The evaluation files that are missing in the data root, with the remedy; "" if all are there. Raises
    OptionError."""
    lacking = {name: files for suite in _suites(options) for name, files in suite.missing_files().items()}
    tasks = "; ".join(f"{name}: {_shown(files)}" for name, files in lacking.items())
    return f"Missing are {tasks}. Run: arctic eval-data fetch --root {options.root}" if lacking else ""


def _named(name: str, options: EvaluationOptions) -> TaskSection:
    """A task of the user's own, or any of the harness with the options for such."""
    if not name.startswith(HARNESS):
        return TaskSection(kind=name)
    include = {"include": str(options.include.resolve())} if options.include else {}
    shots = {} if options.num_fewshot is None else {"num_fewshot": options.num_fewshot}
    return TaskSection.model_validate({"kind": name, "seed": options.seed, **shots, **include})


def _suite(options: EvaluationOptions) -> Suite:
    names = [_named(name, options) if ":" in name else name for name in options.suite or (DEFAULT_SUITE,)]
    try:
        suite = named_suite(names, options.root, options.limit, options.unsafe, chat=_chat(options.chat))
    except RecipeError as error:
        raise OptionError(f"--suite: {str(error).removeprefix('evaluate.tasks has ')}") from error
    # A suite whose texts are made from a seed reads no folder.
    if suite.missing_files() and not options.root.is_dir():
        raise OptionError(f"--root {options.root}: no such folder. Run: arctic eval-data fetch --root {options.root}")
    if options.system and suite.is_plain:
        raise OptionError("--system: no --suite is asked in the chat. Leave it out, or add a task such as ifeval.")
    return replace(suite, numpy=options.numpy, system=options.system)


def _shown(files: Sequence[str]) -> str:
    """Names of the first files, and how many more there are."""
    more = f" and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
    return ", ".join(files[:FILES_SHOWN]) + more


def _chat(name: str) -> Chat:
    for chat in CHATS:
        if name == chat:
            return chat
    raise OptionError(f"--chat {name!r}: there are {', '.join(CHATS)}. Choose one.")


def _check(options: EvaluationOptions) -> None:
    if options.limit is not None and options.limit < 1:
        raise OptionError(f"--limit {options.limit}: it must be 1 or more. Leave it out for all items.")
    if options.against_tokenizer and not options.against:
        raise OptionError("--against-tokenizer: there is no --against that it could belong to. Leave it out.")
    if bool(options.model) == bool(options.checkpoints):
        raise OptionError(
            "--model: name either checkpoints or a model behind a server, openai:http://HOST:PORT/v1 or vllm:FOLDER."
        )
    if options.model and (options.rescore or options.against or options.tokenizer or options.phase is not None):
        raise OptionError("--model: another engine is asked. Leave out --rescore, --against, --tokenizer and --phase.")
    if options.rescore and (options.against or options.tokenizer or options.phase is not None):
        raise OptionError("--rescore: it asks no model. Leave out --against, --tokenizer and --phase.")
    if options.system and (options.rescore or options.chat == "never"):
        raise OptionError("--system: nothing is asked in the chat. Leave out --rescore and --chat never, or --system.")
    if options.numpy and not runs_programs(options.suite or (DEFAULT_SUITE,)):
        raise OptionError("--numpy: no --suite asks for programs. Leave it out, or add humaneval_plus or mbpp_plus.")
    if not any(name.startswith(HARNESS) for name in options.suite) and (
        options.num_fewshot is not None or options.include or options.seed != FEWSHOT_SEED
    ):
        raise OptionError("--num-fewshot, --seed, --include: no --suite lm_eval:NAME is asked. Leave them out.")
    if options.actors < 1:
        raise OptionError(f"--actors {options.actors}: it must be 1 or more.")
    if options.expert_parallel_size < 1:
        raise OptionError(f"--ep {options.expert_parallel_size}: it must be 1 or more.")
    if options.threads < 1:
        raise OptionError(f"--threads {options.threads}: it must be 1 or more.")
    if options.threads > 1 and (options.model or options.rescore or options.gpus_per_actor):
        raise OptionError("--threads: no checkpoint answers on a CPU. Leave it out.")
    if options.dtype != "float32" and (options.model or options.rescore or options.gpus_per_actor):
        raise OptionError("--dtype: no checkpoint answers on a CPU. Leave it out.")
    if options.threads > 1 and options.expert_parallel_size > 1:
        raise OptionError("--threads: each process of --ep has one thread. Leave one of the two out.")
    if options.expert_parallel_size > 1 and (options.model or options.rescore):
        raise OptionError("--ep: no checkpoint is loaded. Leave it out.")
    if options.gpus_per_actor < 0:
        raise OptionError(f"--gpus-per-actor {options.gpus_per_actor:g}: it must be 0, for the CPU, or more.")
    if options.unsafe not in ("", UNSAFE):
        raise OptionError(f"--unsafe {options.unsafe!r}: write '{UNSAFE}', in these words, or leave it out.")


def _stage(
    checkpoint: ResolvedCheckpoint,
    tokenizer: Path | None,
    suite: Suite,
    execution: evaluate.Execution,
    before: Stage | None,
) -> Stage:
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", checkpoint.label).strip("-.")
    origin = evaluate.Origin(checkpoint.key, checkpoint.tokenizer)
    try:
        return evaluate.checkpoint_stage(label, checkpoint.folder, tokenizer, suite, execution, before, origin)
    except (ValueError, OSError) as error:
        named = str(error).startswith(str(checkpoint.folder))
        raise OptionError(str(error) if named else f"{checkpoint.folder}: {error}") from error
