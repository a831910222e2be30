"""Selective activation checkpointing: backward recomputes cheap tensors and reads expensive ones from memory.

Korthikanti et al. 2022 (arXiv 2205.05198, section 5) choose by operations per byte. Here norms, casts and gathers are
recomputed from tensors that autograd stores anyway. The results of matrix products and of exchanges are stored, so
neither runs twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

_recomputations: ContextVar["dict[int, tuple[Tensor, _Recomputation]] | None"] = ContextVar(
    "recomputations", default=None
)
"""Inside `selective_recomputation`: recomputable tensors by the address of their storage. Each tensor is held, so that
no other tensor gets its address."""


@contextmanager
def selective_recomputation() -> Iterator[None]:
    """Inside, autograd stores a recomputation instead of each tensor that `recomputed` returns."""
    token = _recomputations.set({})
    try:
        with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _recomputations.reset(token)


def recomputed(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, called again in backward if backward needs the result.

    Args:
        function: must return the same bits in the same layout for the same inputs.
        inputs: tensors and other arguments of `function`.
    """
    return recomputable(function(*inputs), function, *inputs)


def recomputable(result: Tensor, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`result`, which `function(*inputs)` computes again in backward if backward needs it; see `recomputed`."""
    recomputations = _recomputations.get()
    if recomputations is not None and result.numel() and not any(_share_storage(result, each) for each in inputs):
        recomputations[_address(result)] = (result, _Recomputation(function, [_stored(each) for each in inputs]))
    return result


@dataclass
class _Recomputation:
    """A call that recreates a tensor: made once for all its readers, and the result is freed after the last one."""

    function: Callable[..., Tensor]
    inputs: list[Any]
    num_readers: int = 0
    result: Tensor | None = None

    def add_reader(self) -> None:
        """Count one more reader, of this tensor and, with the first, of its inputs."""
        if not self.num_readers:
            for each in self.inputs:
                if isinstance(each, _View):
                    each.recomputation.add_reader()
        self.num_readers += 1

    @torch.no_grad()
    def read(self) -> Tensor:
        result = self.function(*map(_unpack, self.inputs)) if self.result is None else self.result
        self.num_readers -= 1
        self.result = result if self.num_readers else None
        return result


class _View(NamedTuple):
    """A view of the storage that a recomputation will fill."""

    recomputation: _Recomputation
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _pack(tensor: Tensor) -> Any:
    stored = _stored(tensor)
    if isinstance(stored, _View):
        stored.recomputation.add_reader()
    return stored


def _unpack(stored: Any) -> Any:
    if not isinstance(stored, _View):
        return stored
    return stored.recomputation.read().as_strided(stored.size, stored.stride, stored.offset)


def _stored(value: Any) -> Any:
    """The value itself, or a view of its recomputation: represents an input or a saved tensor until backward."""
    if not isinstance(value, Tensor):
        return value
    _, recomputation = (_recomputations.get() or {}).get(_address(value), (None, None))
    if recomputation is None or not value.numel():
        return value.detach()
    return _View(recomputation, value.size(), value.stride(), int(value.storage_offset()))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _share_storage(tensor: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and _address(tensor) == _address(other)
