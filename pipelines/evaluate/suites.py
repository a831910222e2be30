"""Tasks by name, and the suites that name them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_recipes.section import RecipeError
from infra.store import file_digest
from pipelines.evaluate.data.files import data_files
from pipelines.evaluate.task import Task
from pipelines.evaluate.tasks.code.task import TASKS as CODE_TASKS

ENTERPRISE = ("humaneval_plus", "mbpp_plus", "spider", "ifeval")
"""What enterprise intelligence is made of."""
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
SUITES: Mapping[str, tuple[str, ...]] = {
    "enterprise": (*ENTERPRISE, "gsm8k"),
    "academic": (*LANGUAGE, "mmlu", "gsm8k"),
    "smoke": (*ENTERPRISE, *LANGUAGE, "mmlu", "gsm8k"),
}
"""Tasks of each suite. `enterprise` has GSM8K for its gold answers, which enterprise bits per byte need."""
SMOKE_LIMIT = 32
"""Items of each task in the suite `smoke`."""
SMOKE_NEW_TOKENS = 64
"""Of each generation there: it shows that everything works, not how good a model is."""


@dataclass(frozen=True)
class Suite:
    """What is asked of a checkpoint: `tasks` by name, whose files lie under `root`; at most `limit` items of each, and
    at most `max_new_tokens` for an answer where a task would give more.

    `unsafe`: the user's words where code may run without isolation, see `pipelines.evaluate.sandbox`.
    """

    tasks: tuple[str, ...] = ()
    root: Path = Path("eval_data")
    limit: int | None = None
    unsafe: str = ""
    max_new_tokens: int | None = None

    @classmethod
    def named(cls, names: Sequence[str], root: Path, limit: int | None, unsafe: str = "") -> "Suite":
        """Tasks and suites by name. Raises RecipeError where there is no such name."""
        tasks: dict[str, None] = {}
        for name in names:
            if mistake := unknown_task(name):
                raise RecipeError(f"evaluate.tasks has {mistake}")
            tasks |= dict.fromkeys(SUITES.get(name, (name,)))
        if "smoke" in names:
            return cls(tuple(tasks), root, limit or SMOKE_LIMIT, unsafe, SMOKE_NEW_TOKENS)
        return cls(tuple(tasks), root, limit, unsafe)

    def build(self, chat: bool) -> list[Task]:
        """The tasks for a model with a chat template, or for one without."""
        return [FACTORIES[name](self, chat) for name in self.tasks]

    def packages(self) -> tuple[str, ...]:
        """Distributions of the extra `evaluate` that the tasks need."""
        return tuple(sorted({name for task in self.build(chat=False) for name in task.packages}))

    def params(self) -> dict[str, object]:
        """What results depend on, as plain data: how each task is asked and judged, how many items, and what the files
        say. That a file is missing is part of it, so that a task which was skipped is measured once it is there. Which
        of the two ways a task is asked in follows from the model, which is in the key as well."""
        pairs = list(zip(self.build(chat=True), self.build(chat=False), strict=True))
        files = sorted({file for task, _ in pairs for file in task.files})
        return {
            "tasks": {task.name: {"chat": task.protocol, "base": base.protocol} for task, base in pairs},
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "data": {file: self._content(file) for file in files},
        }

    def _content(self, file: str) -> str:
        path = self.root / file
        if not path.is_file():
            return "missing"
        return data_files()[file].sha256 or file_digest(path)


def unknown_task(name: str) -> str:
    """Why `name` cannot be asked for, with the names that can; "" if it is a task or suite."""
    if name in SUITES or name in FACTORIES:
        return ""
    return f"{name!r}: no such task or suite. There are {', '.join([*SUITES, *FACTORIES])}."


Factory = Callable[[Suite, bool], Task]
"""The task of a suite, for a model with a chat template or without."""


def _code(name: str) -> Factory:
    return lambda suite, chat: CODE_TASKS[name](suite.root, suite.unsafe, chat)


def _spider(suite: Suite, chat: bool) -> Task:
    from pipelines.evaluate.tasks.spider.task import Spider

    return Spider(suite.root, suite.unsafe, chat)


def _ifeval(suite: Suite, chat: bool) -> Task:
    from pipelines.evaluate.tasks.ifeval.task import IFEval

    return IFEval(suite.root, chat)


def _harness(name: str) -> Factory:
    # The harness asks without a chat template unless it is told otherwise, and published scores are mostly so.
    def make(suite: Suite, _chat: bool) -> Task:
        from pipelines.evaluate.tasks.harness import HarnessTask

        return HarnessTask(name, suite.root, suite.limit)

    return make


FACTORIES: Mapping[str, Factory] = {
    **{name: _code(name) for name in CODE_TASKS},
    "spider": _spider,
    "ifeval": _ifeval,
    **{name: _harness(name) for name in (*LANGUAGE, "mmlu", "gsm8k")},
}
