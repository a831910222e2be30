"""The tasks: their questions, and the judging of answers.

A module of this folder, or the module `task` of a folder in it, that has a mapping TASKS adds these tasks by name.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from pipelines.evaluate.task import Factory


@cache
def built_in() -> Mapping[str, Factory]:
    """Every built-in task by its name in a recipe."""
    tasks: dict[str, Factory] = {}
    for entry in iter_modules(__path__, f"{__name__}."):
        module = import_module(f"{entry.name}.task" if entry.ispkg else entry.name)
        tasks |= getattr(module, "TASKS", {})
    return tasks
