"""A stage: one node of the graph, named by its inputs and parameters and nothing else.

`key = sha256(name, subject, version, params, keys of inputs)[:12]`. Resources, paths, worker counts and code are
never in it, so moving a run to other machines finds the same results.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.artifact import Artifact
from infra.context import StageContext
from infra.resources import Resources

Metrics = Mapping[str, float]
Work = Callable[[StageContext, Mapping[str, Artifact]], Metrics]
KEY_LENGTH = 12
NO_RESOURCES = Resources()
SCALARS = frozenset({type(None), bool, int, str})


@dataclass(frozen=True)
class Early:
    """The part of an unfinished input that a stage reads: a path next to its result, which appears atomically.

    `input`: name of the input; `leaves`: names in the folder of results of that kind, any of which suffices, such as
    "1-0123456789ab.weights/step-00000400"; `remedy`: the remedy if the input is finished without any of them.
    """

    input: str
    leaves: tuple[str, ...]
    remedy: str

    def find(self, folder: Path) -> Path | None:
        """The first path that is there, of the results in `folder`."""
        return next((folder / leaf for leaf in self.leaves if (folder / leaf).exists()), None)


@dataclass(frozen=True)
class Stage:
    """A node of the graph. Building one runs nothing.

    `work(context, inputs)` writes files under `context.out` and returns metrics. `params` are plain data and contain
    everything that distinguishes two stages of one name, subject and version.

    Example:
        >>> from infra import Stage
        >>> def double(context, inputs):
        ...     number = int((inputs["number"].path / "number").read_text())
        ...     (context.out / "number").write_text(str(2 * number))
        ...     return {}
        >>> def write(context, inputs):
        ...     (context.out / "number").write_text("21")
        ...     return {}
        >>> stage = Stage("double", params={"by": 2}, inputs={"number": Stage("write", work=write)}, work=double)
        >>> stage.id, len(stage.key)
        ('double', 12)
    """

    name: str
    subject: str = ""
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    work: Work = field(default=None, compare=False)  # type: ignore[assignment]
    resources: Resources = NO_RESOURCES
    packages: tuple[str, ...] = ()
    """Distributions beyond the project's own requirements that the work needs on its machine."""
    machine_dependent: bool = False
    """Whether the last bits of the result depend on the machine, as sums in floating point do. Not part of the key:
    such a result is used on other machines too, and the plan mentions it."""
    continues: tuple[str, ...] = ()
    """Keys of stages of this name and subject whose unfinished work this one may go on from, best first: their state
    folders are `StageContext.earlier`. No part of the key."""
    model_output: str = ""
    """Folder of the result that holds a model, which tracking registers. No part of the key."""
    model_input: str = ""
    """Name of the input whose model this stage measures: tracking adds its metrics to it. No part of the key."""
    model_key: str = ""
    """Key of the result whose model this stage measures, if no input holds it: tracking also adds its metrics to the
    run that made the model. No part of the key."""
    step_metric: str = ""
    """Metric whose value is the step at which tracking logs all metrics of the result. No part of the key."""
    early: Early | None = None
    """The part of an unfinished input that this stage reads: it begins as soon as that exists. In `work`, the artifact
    of that input may then lack its files. No part of the key."""
    inline: bool = False
    """Whether the process that runs the graph can do the work itself: a graph of such stages needs no cluster. No part
    of the key."""

    def __post_init__(self) -> None:
        if self.work is None:
            raise TypeError(f"stage {self.name}: no work. Give the function that builds it, as work=...")

    @property
    def id(self) -> str:
        """The name of this stage for people: `train[2]`, or `report` if there is only one."""
        return f"{self.name}[{self.subject}]" if self.subject else self.name

    @cached_property
    def key(self) -> str:
        """12 hex digits that name this stage's result."""
        return digest(
            {
                "name": self.name,
                "subject": self.subject,
                "version": self.version,
                "params": self.params,
                "inputs": {name: stage.key for name, stage in self.inputs.items()},
            }
        )[:KEY_LENGTH]


def canonical_json(value: object) -> str:
    """One text per value: sorted keys, no spaces, shortest floats. Raises TypeError on anything but plain data."""
    return json.dumps(
        _plain(value, "value"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: object) -> str:
    """sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def topological_order(targets: Mapping[str, Stage] | list[Stage]) -> Iterator[Stage]:
    """Every stage that `targets` need, each once, inputs before those who read them."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if stage.key in seen:
            return
        seen.add(stage.key)
        for upstream in stage.inputs.values():
            yield from visit(upstream)
        yield stage

    for target in targets.values() if isinstance(targets, Mapping) else targets:
        yield from visit(target)


def _plain(value: object, field: str) -> object:
    """`value` rebuilt from None, bool, int, float, str, list and dict; anything else has no stable text."""
    if type(value) in SCALARS:
        return value
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise TypeError(f"{field} = {value}: a key takes finite numbers only")
            return value
        case Mapping():
            bad = [name for name in value if not isinstance(name, str)]
            if bad:
                raise TypeError(f"{field} has the field {bad[0]!r}: names of fields are strings in a key")
            # Most values are scalars: a plan of 10,000 stages has no time for a call of each.
            return {
                name: item if type(item) in SCALARS else _plain(item, f"{field}.{name}") for name, item in value.items()
            }
        case list() | tuple():
            return [_plain(item, f"{field}[{index}]") for index, item in enumerate(value)]
        case _:
            raise TypeError(
                f"{field} is a {type(value).__name__}: a key takes plain data only, such as numbers, strings and lists"
            )
