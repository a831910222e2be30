"""Selective activation checkpointing: of what backward needs, the cheap is made again and the dear is kept.

Korthikanti et al. 2022 (arXiv 2205.05198, section 5) choose by operations per byte; so here. Norms, casts and gathers
are made again from what is kept anyway. What a matrix product or an exchange made is kept, so nothing of either
happens twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

_recipes: ContextVar["dict[int, tuple[Tensor, _Recipe]] | None"] = ContextVar("recipes", default=None)
"""Inside `selective`: what is made again, by where its values lie. The tensor itself is held so that nothing else comes
to lie there."""


@contextmanager
def selective() -> Iterator[None]:
    """Inside, autograd keeps of the tensors that `cheap` makes only how they are made."""
    token = _recipes.set({})
    try:
        with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _recipes.reset(token)


def cheap(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, which must give the same bits again for the same inputs, in the same layout."""
    result = function(*inputs)
    recipes = _recipes.get()
    if recipes is not None and result.numel() and not any(_lie_together(result, each) for each in inputs):
        recipes[_place(result)] = (result, _Recipe(function, [_kept(each) for each in inputs]))
    return result


@dataclass
class _Recipe:
    """How a tensor is made. Made once for all that will ask for it, and gone when the last of them has it."""

    function: Callable[..., Tensor]
    inputs: list[Any]
    num_awaited: int = 0
    made: Tensor | None = None

    def expect(self) -> None:
        """Somebody will ask."""
        if not self.num_awaited:
            for each in self.inputs:
                if isinstance(each, _View):
                    each.recipe.expect()
        self.num_awaited += 1

    @torch.no_grad()
    def take(self) -> Tensor:
        made = self.function(*map(_unpack, self.inputs)) if self.made is None else self.made
        self.num_awaited -= 1
        self.made = made if self.num_awaited else None
        return made


class _View(NamedTuple):
    """A tensor that lies where a recipe's will lie."""

    recipe: _Recipe
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _pack(tensor: Tensor) -> Any:
    kept = _kept(tensor)
    if isinstance(kept, _View):
        kept.recipe.expect()
    return kept


def _unpack(kept: Any) -> Any:
    if not isinstance(kept, _View):
        return kept
    return kept.recipe.take().as_strided(kept.size, kept.stride, kept.offset)


def _kept(value: Any) -> Any:
    """What stands for an input or a saved tensor until backward."""
    if not isinstance(value, Tensor):
        return value
    _, recipe = (_recipes.get() or {}).get(_place(value), (None, None))
    if recipe is None or not value.numel():
        return value.detach()
    return _View(recipe, value.size(), value.stride(), int(value.storage_offset()))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _lie_together(tensor: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and _place(tensor) == _place(other)
