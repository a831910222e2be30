"""The graph that scores one checkpoint: one stage, so that it is resumed, reused and tracked like every other."""

import re
from dataclasses import dataclass
from pathlib import Path

from data_recipes.lock import Lock
from data_recipes.schema import TaskSection
from infra.stage import Stage
from infra.store import MANIFEST
from pipelines import evaluate
from pipelines.artifacts.checkpoint import CHECKPOINT
from pipelines.errors import OptionError
from pipelines.evaluate.chat import CHATS, Chat
from pipelines.evaluate.sandbox import UNSAFE
from pipelines.evaluate.suites import Suite
from pipelines.graph.chain import Graph
from pipelines.graph.checkpoints import resolve_checkpoint


@dataclass(frozen=True)
class EvaluationOptions:
    """What to score and how.

    Attributes:
        checkpoint: Folder of a checkpoint: ours, the result of a train stage, or a Hugging Face model.
        suite: Suites and tasks.
        root: Folder of the evaluation data.
        limit: Maximum number of items per task; None for all.
        against: Another checkpoint to compare with, item by item.
        tokenizer: Folder of the checkpoint's tokenizer; None for its own.
        actors: Copies of the model that answer side by side.
        gpus_per_actor: GPUs of each copy.
        unsafe: The words that allow model-written code to run on a machine that cannot confine it.
        against_tokenizer: As `tokenizer`, of `against`.
        chat: Whether to ask in the chat template: "never", "auto" or "always".
    """

    checkpoint: Path
    suite: tuple[str, ...]
    root: Path
    limit: int | None = None
    against: Path | None = None
    tokenizer: Path | None = None
    actors: int = 1
    gpus_per_actor: float = 0.0
    unsafe: str = ""
    against_tokenizer: Path | None = None
    chat: str = "auto"


def evaluation_graph(options: EvaluationOptions) -> Graph:
    """The graph that scores the checkpoint, and before it the one that it is compared with; the last stage is that of
    the checkpoint.

    Raises OptionError if a checkpoint, a tokenizer, a task or the data is missing, or a number is out of range.
    """
    _check(options)
    names = [TaskSection(kind=name) if ":" in name else name for name in options.suite]
    suite = Suite.named(names, options.root, options.limit, options.unsafe, chat=_chat(options.chat))
    if not options.root.is_dir():
        raise OptionError(f"--root {options.root}: no such folder. Run: arctic eval-data fetch --root {options.root}")
    execution = evaluate.Execution(options.actors, 1.0, options.gpus_per_actor)
    before = _stage(options.against, options.against_tokenizer, suite, execution, None) if options.against else None
    stage = _stage(options.checkpoint, options.tokenizer, suite, execution, before)
    stages = {each.id: each for each in (before, stage) if each}
    return Graph(f"evaluate-{stage.subject}", stages, Lock(None, {}, {}, {}))


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
    if options.actors < 1:
        raise OptionError(f"--actors {options.actors}: it must be 1 or more.")
    if options.gpus_per_actor < 0:
        raise OptionError(f"--gpus-per-actor {options.gpus_per_actor:g}: it must be 0, for the CPU, or more.")
    if options.unsafe not in ("", UNSAFE):
        raise OptionError(f"--unsafe {options.unsafe!r}: say '{UNSAFE}', in these words, or leave it out.")


def _stage(
    checkpoint: Path, tokenizer: Path | None, suite: Suite, execution: evaluate.Execution, before: Stage | None
) -> Stage:
    folder, made_with = resolve_checkpoint(checkpoint)
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", _label(checkpoint.resolve())).strip("-.")
    try:
        return evaluate.checkpoint_stage(label, folder, tokenizer, suite, execution, before, made_with)
    except (ValueError, OSError) as error:
        named = str(error).startswith((str(checkpoint), str(folder)))
        raise OptionError(str(error) if named else f"{checkpoint}: {error}") from error


def _label(folder: Path) -> str:
    """The name that people know a checkpoint by: of its train stage, or of its folder."""
    artifact = folder.parent if folder.name == CHECKPOINT and (folder.parent / MANIFEST).is_file() else folder
    return f"{artifact.parent.name}-{artifact.name}" if (artifact / MANIFEST).is_file() else artifact.name
