"""The Python modules of a harness page and the packages that they import, by reading them: nothing is executed."""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from infra.host.versions import version


@dataclass(frozen=True)
class PageCode:
    """`files` of the modules, and by imported package whether they need it: they do without one that is imported in a
    function, under a condition, or in a `try` that does not raise."""

    files: tuple[Path, ...]
    needs: dict[str, bool]

    @classmethod
    def read(cls, modules: Iterable[Path]) -> "PageCode":
        """The code of these modules and of those beside them that they import, without the standard library."""
        waiting, files = list(modules), set[Path]()
        needs: dict[str, bool] = {}
        while waiting:
            file = waiting.pop().resolve()
            if file in files or not file.is_file():
                continue
            files.add(file)
            for names, is_needed in _imports(ast.parse(file.read_bytes())):
                beside = [other for name in names for other in _beside(file, name)]
                waiting += beside
                package = names[0].partition(".")[0]
                if package and not beside and package not in sys.stdlib_module_names:
                    needs[package] = needs.get(package, False) or is_needed
        return cls(tuple(sorted(files)), dict(sorted(needs.items())))

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Needed packages that this environment does not have."""
        return tuple(name for name, is_needed in self.needs.items() if is_needed and not _is_there(name))

    @property
    def optional(self) -> str:
        """The packages that the code can do without, each with its version or "missing": scores may depend on them."""
        return ", ".join(f"{name} {_version(name)}" for name, is_needed in self.needs.items() if not is_needed)


def _imports(node: ast.AST, is_needed: bool = True) -> Iterator[tuple[list[str], bool]]:
    """The modules that each import may read, the one that it names first."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (([alias.name], is_needed) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            dot = "." if child.module else ""
            yield [module, *(f"{module}{dot}{alias.name}" for alias in child.names)], is_needed
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.If) or _goes_on_without(child):
            yield from _imports(child, False)
        else:
            yield from _imports(child, is_needed)


def _goes_on_without(node: ast.AST) -> bool:
    """Whether it is a `try` of which some handler does not raise."""
    return isinstance(node, ast.Try) and any(
        not any(isinstance(part, ast.Raise) for part in ast.walk(handler)) for handler in node.handlers
    )


def _beside(file: Path, name: str) -> list[Path]:
    """The file that an import of `name` in `file` reads, if that belongs to the pages."""
    parts = name.lstrip(".").split(".")
    level = len(name) - len(name.lstrip("."))
    folder = file.parents[level - 1] if level else file.parent
    if parts[:2] == ["lm_eval", "tasks"]:
        folder, parts = next((each for each in file.parents if each.name == "tasks"), folder), parts[2:]
    target = folder.joinpath(*parts)
    return [each for each in (target.with_suffix(".py"), target / "__init__.py") if parts and each.is_file()]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(module: str) -> str:
    if not _is_there(module):
        return "missing"
    names = _distributions().get(module, [])
    return version(names[0]) or "without version" if names else "without version"


@cache
def _distributions() -> dict[str, list[str]]:
    return {module: list(names) for module, names in metadata.packages_distributions().items()}
