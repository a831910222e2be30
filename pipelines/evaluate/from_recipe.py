"""The tasks that a recipe names, as a suite."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_recipes.section import RecipeError
from data_recipes.sections.evaluation import TaskSection
from pipelines.evaluate.asking.chat import Chat
from pipelines.evaluate.suites import SMOKE_LIMIT, SMOKE_NEW_TOKENS, SUITES, Suite, unknown_task
from pipelines.evaluate.task import DataError, Task
from pipelines.evaluate.tasks import built_in
from pipelines.evaluate.tasks.harness.lm_eval_package import FEWSHOT_SEED
from pipelines.evaluate.tasks.harness.named import PREFIX as HARNESS
from pipelines.evaluate.tasks.harness.named import HarnessOptions
from pipelines.extension import Extension, recipe_errors


def named_suite(
    names: Sequence[str | TaskSection],
    root: Path,
    limit: int | None,
    unsafe: str = "",
    folder: Path = Path(),
    chat: Chat = "auto",
) -> Suite:
    """Tasks and suites by name, and classes of the user's own, whose modules are looked for in `folder`. Raises
    RecipeError if there is no such name or a class cannot be used."""
    tasks: dict[str, None] = {}
    own: list[Extension] = []
    harness: list[HarnessOptions] = []
    for number, name in enumerate(names, start=1):
        if isinstance(name, TaskSection) and name.kind.startswith(HARNESS):
            harness.append(_harness_task(name, folder, number))
            continue
        if isinstance(name, TaskSection):
            own.append(_own_task(name, folder, number))
            continue
        if mistake := unknown_task(name):
            raise RecipeError(f"evaluate.tasks has {mistake}")
        tasks |= dict.fromkeys(SUITES.get(name, (name,)))
    chosen = Suite(tuple(tasks), root, limit, unsafe, own=tuple(own), chat=chat, harness=tuple(harness))
    if own:
        _require_own_names(chosen)
    if "smoke" in names:
        return replace(chosen, limit=limit or SMOKE_LIMIT, max_new_tokens=SMOKE_NEW_TOKENS)
    return chosen


def _harness_task(section: TaskSection, folder: Path, number: int) -> HarnessOptions:
    """The task of a section such as { kind = "lm_eval:arc_challenge_chat", num_fewshot = 5 }. Raises RecipeError."""
    place = f"evaluate.tasks.{number}"
    fields = dict(section.fields)
    num_fewshot, seed = fields.pop("num_fewshot", None), fields.pop("seed", FEWSHOT_SEED)
    include = fields.pop("include", "")
    if fields:
        allowed = "num_fewshot, seed and include"
        raise RecipeError(f"{place}.{next(iter(fields))}: no such field of {section.kind}. The fields are {allowed}.")
    for name, value in (("num_fewshot", num_fewshot or 0), ("seed", seed)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RecipeError(f"{place}.{name} = {value!r}: not a whole number from 0. Change it.")
    if not isinstance(include, str):
        raise RecipeError(f"{place}.include = {include!r}: not a folder. Name one with pages of tasks.")
    try:
        return HarnessOptions.named(section.kind, folder / include if include else None, num_fewshot, seed)
    except DataError as error:
        raise RecipeError(f"{place}.kind = {section.kind!r}: {error}") from error


def _own_task(section: TaskSection, folder: Path, number: int) -> Extension:
    with recipe_errors(f"evaluate.tasks.{number}"):
        extension = Extension.find(section.kind, section.fields, Task, folder)
        extension.make()
        return extension


def _require_own_names(suite: Suite) -> None:
    """Raise RecipeError if a task of the user's own has the name of another one."""
    names = [task.name for task in suite.build(chat=False)]
    for extension, name in zip(suite.own, names[len(suite.tasks) :], strict=True):
        if name in built_in() or names.count(name) > 1:
            taken = f"{extension.reference} has the name {name!r} of another task"
            raise RecipeError(f"evaluate.tasks: {taken}. Rename it.")
