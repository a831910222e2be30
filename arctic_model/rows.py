"""Rows of a matrix in another order, with gaps or without some of them, and back in backward."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def take(rows: Float[Tensor, "M *D"], index: Int[Tensor, " R"], *, gaps: bool) -> Float[Tensor, "R *D"]:
    """`rows[index]`; with `gaps`, zeros where the index is M."""
    if gaps:
        rows = torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])
    return rows.index_select(0, index)


def rearrange(rows: Float[Tensor, "M D"], index: Int[Tensor, " R"], inverse: Int[Tensor, " M"]) -> Float[Tensor, "R D"]:
    """`rows[index]`, where row m comes to stand at `inverse[m]`. Zeros where the index is M, or the inverse R for what
    is left out: the longer of the two has the gaps."""
    return _Rearrange.apply(rows, index, inverse)


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
