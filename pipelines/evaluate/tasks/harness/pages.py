"""Pages of lm-evaluation-harness' tasks, located by name and read without importing the harness, which takes
seconds."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from pipelines.evaluate.task import DataError
from pipelines.evaluate.tasks.harness.lm_eval_package import PACKAGE
from pipelines.evaluate.tasks.harness.page_code import PageCode

DATASETS = "lm_eval"
"""Folder of the data root with datasets of the Hub: <path>/<name>/<split>.jsonl, .jsonl.gz or .json."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".json")
FUNCTION = r"""!function\s+["']?([\w.]+)\.\w"""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads a page as plain data: functions that it names are left out."""


def _left_out(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
    """The value of a field that names a function."""


_Loader.add_multi_constructor("!", _left_out)


@dataclass(frozen=True)
class HarnessPage:
    """The YAML file of a task called `name`, and the files that it includes."""

    name: str
    path: Path

    @classmethod
    def find(cls, name: str, include: Path | None) -> "HarnessPage":
        """The page of a task in the folder `include`, or among the harness' own.

        Raises DataError if there is none, or if it is a group of tasks.
        """
        for folder in _folders(include):
            for path in (*sorted(folder.rglob(f"{name}.yaml")), *_that_mention(folder, name)):
                page = cls(name, path)
                if page.fields.get("task") == name:
                    return page
        where = f"in {include} nor " if include else ""
        raise DataError(f"{PACKAGE}:{name}: neither {where}among the harness' tasks. Name a single task, no group.")

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the page over those that it includes."""
        merged: dict[str, Any] = {}
        for path in self._chain():
            merged = {**_read(path), **merged}
        return merged

    @property
    def digest(self) -> str:
        """Of the page, its includes, the Python modules in its folder, and those elsewhere that it uses."""
        beside = sorted(self.path.parent.glob("*.py"))
        known = {file.resolve() for file in beside}
        files = [*self._chain(), *beside, *(file for file in self.code.files if file not in known)]
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]

    @cached_property
    def code(self) -> PageCode:
        """The modules whose functions the page names. Raises DataError if one is no Python."""
        try:
            return PageCode.read(module for path in self._chain() for module in _modules(path))
        except SyntaxError as error:
            raise DataError(f"{self.path}: its code is no Python ({error}). Mend it, or name another task.") from error

    @property
    def headline(self) -> str:
        """The first metric, of the first filter if it has filters."""
        metrics = self.fields.get("metric_list") or [{"metric": "acc"}]
        filters = self.fields.get("filter_list") or [{"name": "none"}]
        return measure_name(str(metrics[0]["metric"]), str(filters[0]["name"]))

    def files(self, root: Path) -> dict[str, str]:
        """Files of the data root by split, if the dataset of the Hub lies there."""
        parts = [str(self.fields[name]) for name in ("dataset_path", "dataset_name") if self.fields.get(name)]
        folder = root.joinpath(DATASETS, *parts)
        by_split = {
            path.name.removesuffix(suffix): path.relative_to(root).as_posix()
            for suffix in reversed(SUFFIXES)
            for path in sorted(folder.glob(f"*{suffix}"))
        }
        return dict(sorted(by_split.items()))

    def _chain(self) -> Iterator[Path]:
        """The page, and its includes, nearest first."""
        path: Path | None = self.path
        while path:
            yield path
            include = _read(path).get("include")
            path = path.parent / include if include else None


def measure_name(metric: str, filter_name: str) -> str:
    """A metric of a filter as a measure; the filter "none" changes nothing."""
    return metric if filter_name == "none" else f"{metric}/{filter_name}"


def _folders(include: Path | None) -> list[Path]:
    spec = find_spec(PACKAGE)
    own = [Path(folder) / "tasks" for folder in (spec.submodule_search_locations or [])] if spec else []
    return [*([include] if include else []), *own]


def _that_mention(folder: Path, name: str) -> Iterator[Path]:
    """Pages with the line of the task, if the file has another name."""
    for path in sorted(folder.rglob("*.yaml")):
        if any(line.split() == ["task:", name] for line in path.read_text(encoding="utf-8").splitlines()):
            yield path


def _modules(path: Path) -> Iterator[Path]:
    """The modules beside a page that its functions are in."""
    for name in re.findall(FUNCTION, path.read_text(encoding="utf-8")):
        yield path.parent.joinpath(*name.split(".")).with_suffix(".py")


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: no page of a task ({error}). Mend it, or name another --include.") from error
    return fields if isinstance(fields, dict) else {}
