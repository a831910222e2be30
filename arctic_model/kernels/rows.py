"""Gather, sum and permute the rows of a matrix; padding and dropped rows count as zeros."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def take(rows: Float[Tensor, "M *D"], index: Int[Tensor, " R"], *, gaps: bool) -> Float[Tensor, "R *D"]:
    """`rows[index]`. With `gaps` an index of M gives zeros."""
    return _followed_by_zeros(rows, gaps).index_select(0, index)


def weighted_sum(
    rows: Float[Tensor, "M D"], index: Int[Tensor, "N K"], weights: Float[Tensor, "N K"] | None, *, gaps: bool
) -> Float[Tensor, "N D"]:
    """Sum over k of `weights[n, k] * rows[index[n, k]]`, accumulated in float32 for narrower dtypes.

    Args:
        weights: None for ones.
        gaps: whether an index may be M, which adds nothing.
    """
    # One pass over memory instead of three: gather, multiply, add.
    weights = None if weights is None else weights.to(rows.dtype)
    return F.embedding_bag(index, _followed_by_zeros(rows, gaps), mode="sum", per_sample_weights=weights)


def summed_by(rows: Float[Tensor, "M D"], index: Int[Tensor, " M"], num_sums: int) -> Float[Tensor, "S D"]:
    """The sum of the rows of each index, zeros for an index without rows, accumulated in float32 for narrower dtypes.

    On a CPU torch's own gradient of an embedding accumulates in the dtype of the rows, and in bfloat16 a sum of many
    rows stops growing. On a GPU it accumulates in float32.
    """
    if rows.is_cuda:
        sums: Tensor = torch.ops.aten.embedding_dense_backward(rows, index, num_sums, -1, False)
        return sums
    counts = torch.bincount(index, minlength=num_sums)
    order = torch.argsort(index, stable=True)
    return F.embedding_bag(order, rows.contiguous(), counts.cumsum(0) - counts, mode="sum")


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


def _followed_by_zeros(rows: Tensor, gaps: bool) -> Tensor:
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])]) if gaps else rows
