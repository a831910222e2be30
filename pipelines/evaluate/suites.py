"""Suites: tasks that are asked together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.store import file_digest
from pipelines.evaluate.asking.chat import Chat
from pipelines.evaluate.data.files import data_files, missing
from pipelines.evaluate.task import Task, TaskOptions
from pipelines.evaluate.tasks import built_in
from pipelines.evaluate.tasks.harness.named import HarnessOptions
from pipelines.extension import Extension

ENTERPRISE = ("humaneval_plus", "mbpp_plus", "spider", "ifeval")
"""The benchmarks of enterprise intelligence."""
LANGUAGE = (
    "arc_easy",
    "arc_challenge",
    "boolq",
    "commonsense_qa",
    "copa",
    "hellaswag",
    "lambada_openai",
    "openbookqa",
    "piqa",
    "race",
    "winogrande",
)
"""The eleven tasks of language understanding that Arctic was judged by."""
LONG = ("long_passkey", "long_multi_key", "long_variable_tracking", "long_common_words")
"""Retrieval in texts of 4 to 128 KB."""
SUITES: Mapping[str, tuple[str, ...]] = {
    "enterprise": (*ENTERPRISE, "gsm8k"),
    "academic": (*LANGUAGE, "mmlu", "gsm8k"),
    "long_context": LONG,
    "smoke": (*ENTERPRISE, *LANGUAGE, "mmlu", "gsm8k"),
}
"""Tasks of each suite. `enterprise` has GSM8K for its gold answers, which enterprise bits per byte need."""
SMOKE_LIMIT = 32
"""Items of each task in the suite `smoke`."""
SMOKE_NEW_TOKENS = 64
"""Of each generation there: it shows that everything works, not how good a model is."""


@dataclass(frozen=True)
class Suite:
    """The tasks for a checkpoint: `tasks` by name, whose files are under `root`; at most `limit` items of each, and at
    most `max_new_tokens` for an answer if a task would give more.

    `unsafe`: the user's consent if code may run without isolation, see `pipelines.sandbox`. `own`: tasks of
    the user's own, classes with the members of `Task`; one with a method `bind(root, chat)` returns itself for a data
    root, and for a model that is asked in the chat or not. `chat`: which models are, see `asking.chat`; `system`: the
    prompt before everything that is asked in it, "" for none. `harness`: any tasks of lm-evaluation-harness.
    `long_context_bytes`: sizes of the texts of LONG; empty for the tasks' own. `numpy`: whether programs that are asked
    for may import numpy.
    """

    tasks: tuple[str, ...] = ()
    root: Path = Path("eval_data")
    limit: int | None = None
    unsafe: str = ""
    max_new_tokens: int | None = None
    own: tuple[Extension, ...] = ()
    chat: Chat = "auto"
    harness: tuple[HarnessOptions, ...] = ()
    long_context_bytes: tuple[int, ...] = ()
    numpy: bool = False
    system: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there are no tasks."""
        return not (self.tasks or self.own or self.harness)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked in the chat even of a chat model. Classes of the user's own may be."""
        in_chat, plain = ([task.protocol for task in self.build(chat)] for chat in (True, False))
        return not self.own and in_chat == plain

    def build(self, chat: bool) -> list[Task]:
        """The tasks for a model that is asked in the chat, or for one that continues a text."""
        own = (extension.make() for extension in self.own)
        bound = [task.bind(self.root, chat) if hasattr(task, "bind") else task for task in own]
        harness = (options.task(self.root, self.limit, chat) for options in self.harness)
        options = TaskOptions(self.root, self.unsafe, self.limit, chat, self.long_context_bytes, self.numpy)
        return [*(built_in()[name](options) for name in self.tasks), *bound, *harness]

    def missing_files(self) -> dict[str, list[str]]:
        """Files that the data root does not have, by the task that reads them."""
        files = {task.name: missing(self.root, task.files) for task in self.build(chat=False)}
        return {name: lacking for name, lacking in files.items() if lacking}

    def packages(self) -> tuple[str, ...]:
        """Distributions of the extra `evaluate` that the tasks need."""
        return tuple(sorted({name for task in self.build(chat=False) for name in task.packages}))

    def params(self) -> dict[str, object]:
        """The inputs of results, as plain data: the protocol of each task, the number of items, and the content of the
        files. That a file is missing is part of it, so that a task which was skipped is measured once it is there. The
        form of a task follows from `chat` and the model, which is in the key as well."""
        pairs = list(zip(self.build(chat=True), self.build(chat=False), strict=True))
        files = sorted({file for task, _ in pairs for file in task.files})
        return {
            "tasks": {task.name: {"chat": task.protocol, "base": base.protocol} for task, base in pairs},
            "chat": self.chat,
            **({"system": self.system} if self.system else {}),
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "data": {file: self._content(file) for file in files},
            **({"long_context_bytes": [*self.long_context_bytes]} if self.long_context_bytes else {}),
            **({"own": [extension.fingerprint() for extension in self.own]} if self.own else {}),
        }

    def _content(self, file: str) -> str:
        path = self.root / file
        if not path.is_file():
            return "missing"
        pinned = data_files().get(file)
        return (pinned.sha256 if pinned else "") or file_digest(path)


def unknown_task(name: str) -> str:
    """Why `name` cannot be asked for, with the names that can; "" if it is a task or suite."""
    if name in SUITES or name in built_in():
        return ""
    return f"{name!r}: no such task or suite. There are {', '.join([*SUITES, *built_in()])}."


def runs_programs(names: Iterable[str]) -> bool:
    """Whether any of these tasks and suites asks for Python programs and runs them."""
    chosen = dict.fromkeys(task for name in names for task in SUITES.get(name, (name,)))
    return any(task.runs == "python" for task in Suite((*(built_in().keys() & chosen),)).build(chat=False))
