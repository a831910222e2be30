"""Typed inputs of a stage: one dataclass per stage, of stages while a graph is built, of artifacts while work runs."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Generic, Self, TypeVar, Union, get_args, get_origin, get_type_hints

Node = TypeVar("Node")
"""`Stage` while the graph is built, `Artifact` while the work runs, or a key as a manifest records it."""


class Inputs(Generic[Node]):
    """Base of the inputs of a stage: a frozen dataclass whose fields are nodes.

    A field is a node, a node or None, a mapping of nodes by name, another `Inputs`, or a mapping of `Inputs` by name.
    In `Stage.inputs` and in manifests a node is named by its field: `mix`; by field and name: `tokens:web`; within
    other `Inputs` by the inner field: `filter`, or `filter:web`.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class TrainInputs(Inputs[Node]):
    ...     mix: Node
    ...     tokens: Mapping[str, Node]
    ...     previous: Node | None = None
    >>> TrainInputs("plan", {"web": "ids"}).named()
    {'mix': 'plan', 'tokens:web': 'ids'}
    >>> TrainInputs.of({"mix": "plan", "tokens:web": "ids"})
    TrainInputs(mix='plan', tokens={'web': 'ids'}, previous=None)
    """

    def named(self) -> dict[str, Node]:
        """Every node by its name."""
        return dict(self._pairs())

    @classmethod
    def of(cls, nodes: Mapping[str, Node]) -> Self:
        """The inputs whose `named()` is `nodes`; names of no field are ignored. Raises KeyError if one is missing."""
        hints = get_type_hints(cls)
        return cls(**{field.name: _read(field.name, hints[field.name], nodes) for field in fields(cls)})  # type: ignore[arg-type]

    def _pairs(self) -> Iterator[tuple[str, Node]]:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Inputs):
                yield from value._pairs()
            elif isinstance(value, Mapping):
                for name, node in value.items():
                    inner = node._pairs() if isinstance(node, Inputs) else ((field.name, node),)
                    yield from ((f"{each}:{name}", part) for each, part in inner)
            elif value is not None:
                yield field.name, value


def nodes_of(field: str, nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes of one field that is a mapping, by name, as in the inputs of a stage or of a manifest.

    >>> nodes_of("tokens", {"mix": "plan", "tokens:web": "ids"})
    {'web': 'ids'}
    """
    return {name.partition(":")[2]: node for name, node in nodes.items() if name.startswith(f"{field}:")}


def _read(field: str, hint: Any, nodes: Mapping[str, Node]) -> Any:
    if inner := _inputs_class(hint):
        return inner.of(nodes)
    if get_origin(hint) is Mapping:
        inner = _inputs_class(get_args(hint)[1])
        first = fields(inner)[0].name if inner else field  # type: ignore[arg-type]
        return {
            name: inner.of(_of_name(name, nodes)) if inner else node for name, node in nodes_of(first, nodes).items()
        }
    return nodes.get(field) if get_origin(hint) in (UnionType, Union) else nodes[field]


def _of_name(name: str, nodes: Mapping[str, Node]) -> dict[str, Node]:
    return {key.removesuffix(f":{name}"): node for key, node in nodes.items() if key.partition(":")[2] == name}


def _inputs_class(hint: Any) -> type[Inputs[Any]] | None:
    origin = get_origin(hint) or hint
    return origin if isinstance(origin, type) and issubclass(origin, Inputs) else None
