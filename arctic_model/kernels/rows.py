"""Gather, sum and permute the rows of a matrix; padding and dropped rows count as zeros."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.kernels.operators import followed_by_zeros


def take(rows: Float[Tensor, "M *D"], index: Int[Tensor, " R"], *, gaps: bool) -> Float[Tensor, "R *D"]:
    """`rows[index]`. With `gaps` an index of M gives zeros."""
    return followed_by_zeros(rows, gaps).index_select(0, index)


def summed_by(rows: Float[Tensor, "M D"], index: Int[Tensor, " M"], num_sums: int) -> Float[Tensor, "S D"]:
    """The sum of the rows of each index, zeros for an index without rows, accumulated in float32 for narrower dtypes.

    On a CPU torch's own gradient of an embedding accumulates in the dtype of the rows, and in bfloat16 a sum of many
    rows stops growing. On a GPU it accumulates in float32.
    """
    if not rows.is_cpu:
        sums: Tensor = torch.ops.aten.embedding_dense_backward(rows, index, num_sums, -1, False)
        return sums
    counts = torch.bincount(index, minlength=num_sums)
    order = torch.argsort(index, stable=True)
    return F.embedding_bag(order, rows.contiguous(), counts.cumsum(0) - counts, mode="sum")


def counted(values: Int[Tensor, " M"], num_values: int) -> Int[Tensor, " E"]:
    """How often each of 0 to `num_values - 1` occurs in `values`, which are none of them greater than `num_values`."""
    if values.is_cpu:
        return torch.bincount(values, minlength=num_values)[:num_values]
    # On a GPU the host would wait for the greatest value.
    return ends_of(values.sort().values, num_values).diff(prepend=values.new_zeros(1))


def ends_of(sorted_values: Int[Tensor, " M"], num_values: int) -> Int[Tensor, " E"]:
    """The number of values up to each of 0 to `num_values - 1`, int32."""
    numbers = torch.arange(num_values, device=sorted_values.device, dtype=sorted_values.dtype)
    return torch.searchsorted(sorted_values, numbers, right=True, out_int32=True)


def rearrange(rows: Float[Tensor, "M D"], index: Int[Tensor, " R"], inverse: Int[Tensor, " M"]) -> Float[Tensor, "R D"]:
    """`rows[index]`, a permutation with gaps: row m moves to `inverse[m]`.

    An index of M gives zeros, and an inverse of R drops the row. Only the longer of the two sides has gaps.
    """
    rearranged: Tensor = _Rearrange.apply(rows, index, inverse)
    return rearranged


class _Rearrange(torch.autograd.Function):
    """Backward is a gather too: a scatter takes ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return take(rows, index, gaps=len(index) > len(rows))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return take(gradient, inverse, gaps=len(inverse) > len(gradient)), None, None
