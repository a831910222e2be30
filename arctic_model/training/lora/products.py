"""The product with a frozen matrix and its adapter. Sums are computed inside of the products, and the scale is applied
to the narrow values between A and B, so that the adapter costs no pass over wide activations."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from arctic_model.training.lora.frozen import FrozenMatrix, dense


def adapted_product(
    x: Float[Tensor, "*batch D_in"],
    mask: Float[Tensor, "*batch D_in"] | None,
    matrix: FrozenMatrix,
    a: Float[Tensor, "r D_in"],
    b: Float[Tensor, "D_out r"],
    scale: float,
) -> Float[Tensor, "*batch D_out"]:
    """`x W^T + scale * (mask * x) A^T B^T` (Hu et al. 2021, arXiv 2106.09685, equation 3). W gets no gradient; if it is
    in FP8 blocks, backward reads it again.

    Args:
        x: the input.
        mask: factors of the adapter's input, those of dropout. None: all are 1.
        matrix: W.
        a: the adapter's first matrix.
        b: its second matrix.
        scale: factor of the adapter.
    """
    rows = x.flatten(0, -2)
    factors = None if mask is None else mask.flatten(0, -2)
    product: Tensor = _AdaptedProduct.apply(rows, factors, matrix, a, b, scale)
    return product.view(*x.shape[:-1], len(b))


class _AdaptedProduct(Function):
    """`low` [M, r] lies between A and B, times the scale."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, mask: Tensor | None, matrix: FrozenMatrix, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        low = F.linear(rows if mask is None else rows * mask, a).mul_(scale)
        ctx.save_for_backward(rows, mask, low, a, b)
        ctx.matrix, ctx.scale = matrix, scale
        return F.linear(rows, dense(matrix, rows.dtype)).addmm_(low, b.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, mask, low, a, b = ctx.saved_tensors
        low_gradient = (gradient @ b).mul_(ctx.scale)
        a_gradient = low_gradient.T @ (rows if mask is None else rows * mask)
        rows_gradient = None
        if ctx.needs_input_grad[0]:
            rows_gradient = gradient @ dense(ctx.matrix, gradient.dtype)
            if mask is None:
                rows_gradient.addmm_(low_gradient, a)
            else:
                rows_gradient.addcmul_(low_gradient @ a, mask)
        return rows_gradient, None, None, a_gradient, gradient.T @ low, None
