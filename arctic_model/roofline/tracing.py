"""Record every operation that reads or writes memory, with its FLOPs and bytes.

On the meta device nothing is computed, so the trace of a layer at full size takes a second and no memory.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

WITHOUT_WORK = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
)
"""Operations that launch nothing, in addition to views."""
WRITES_ONLY = frozenset({"zero_", "fill_", "copy_"})
"""Operations in place that do not read their output."""
GATHERS = frozenset({"index_select", "gather", "embedding", "_embedding_bag"})
"""Operations that read of their first input no more than they index."""


class Kernel(NamedTuple):
    """One operation: its name, and its FLOPs in products of matrices (0 for all others) and bytes of memory."""

    name: str
    flops: int
    num_bytes: int


class KernelTrace(TorchDispatchMode):
    """Inside, every operation of torch is recorded in `kernels`.

    An operation counts as one kernel, and its inputs and outputs as read and written once. Some launch more: a sort one
    for each byte or two of its keys, and the backward of a norm or of flash attention two or three.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and record it."""
        kwargs = dict(kwargs or {})
        output = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if not func.is_view and name not in WITHOUT_WORK:
            flops = PRODUCTS[name](args, output) if name in PRODUCTS else 0
            self.kernels.append(Kernel(name, flops, _bytes(func, name, args, kwargs, output)))
        return output


def _bytes(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    total, written = 0, set()
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    outputs = list(_tensors(output))
    rows = sum(map(_size, outputs))
    for argument in func._schema.arguments:
        writes = argument.alias_info is not None and argument.alias_info.is_write
        for tensor in _tensors(given.get(argument.name)):
            size = _size(tensor)
            if name in GATHERS and argument is func._schema.arguments[0]:
                size = _gathered(name, args, rows)
            reads = not (writes and (argument.is_out or name in WRITES_ONLY))
            total += size * (reads + writes)
            if writes:
                written.add(id(tensor))
    return total + sum(_size(tensor) for tensor in outputs if id(tensor) not in written)


def _gathered(name: str, args: tuple[Any, ...], rows: int) -> int:
    """Bytes that a gather reads: a row for each index of an embedding bag, else as much as it returns."""
    if name != "_embedding_bag":
        return rows
    weight, indices = args[:2]
    return int(indices.numel() * weight.shape[1] * weight.element_size())


def _tensors(values: Any) -> Iterable[Tensor]:
    return (value for value in tree_iter(values) if isinstance(value, Tensor))


def _size(tensor: Tensor) -> int:
    """Bytes in memory: an expanded axis is one row."""
    shape = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return math.prod(shape) * tensor.element_size() if tensor.numel() else 0


def _of_registry(packet: Any) -> Callable[[tuple[Any, ...], Any], int]:
    return lambda args, output: int(flop_registry[packet](*args, out_val=output))


def _added(args: tuple[Any, ...], _: Any) -> int:
    """A product [N, A] x [A, B] added to a first argument."""
    (left, right) = args[1:3]
    return int(2 * left.shape[0] * left.shape[1] * right.shape[1])


def _grouped(args: tuple[Any, ...], _: Any) -> int:
    """Rows [M, A] times a matrix [A, B] of each group; or [A, M] times [M, B] within each group."""
    left, right = args[:2]
    return int(2 * left.shape[0] * left.shape[1] * right.shape[-1])


def _attended(args: tuple[Any, ...], products: int) -> int:
    """Causal attention in documents of equal length: half of each square, `products` times."""
    queries, offsets = args
    tokens, heads, width = queries.shape
    return int(products * tokens * heads * width * (tokens // (len(offsets) - 1)))


PRODUCTS: Mapping[str, Callable[[tuple[Any, ...], Any], int]] = {
    "mm": _of_registry(torch.ops.aten.mm),
    "bmm": _of_registry(torch.ops.aten.bmm),
    "addmm": _added,
    "addmm_": _added,
    "grouped_product": _grouped,
    "_varlen_attn": lambda args, _: _attended((args[0], args[3]), 2),
    "_varlen_attn_backward": lambda args, _: _attended((args[1], args[6]), 5),
}
"""FLOPs of the products of matrices, from arguments and output. Backward of attention multiplies five times: it
computes the scores again (Dao 2023, arXiv 2307.08691, section 3.1)."""
