"""Products in FP8 (e4m3): each row of the first factor and each column of the second has a scale of its own.

Forward and the gradients of inputs are such products. The gradients of weights stay in the dtype of the rows: their sum
runs over tokens, and one large token would take the precision of all others (as torchao's recipe
`rowwise_with_gw_hp`). Sums are in float32. A GPU multiplies the quantized factors; elsewhere they are rounded to the
same numbers and multiplied in the dtype of the rows, which holds each of them exactly.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.kernels.operators import quantized_rows


def rounded_factors(
    rows: Float[Tensor, "*A M K"], matrices: Float[Tensor, "*E K N"]
) -> tuple[Float[Tensor, "*A M K"], Float[Tensor, "*E K N"]]:
    """Both factors with the values that FP8 leaves of them, in their own dtype."""
    return _rounded(rows), _rounded(matrices.mT).mT


def scaled_product(
    rows: Float[Tensor, "M K"], matrices: Float[Tensor, "*E K N"], ends: Tensor | None
) -> Float[Tensor, "M N"]:
    """`rows @ matrices` by the FP8 kernels of a GPU; with `ends` each group's rows times its matrix.

    Args:
        rows: in bfloat16, as the result.
        matrices: the factor of all rows, or one per group.
        ends: see `arctic_model.kernels.row_groups.Groups`.
    """
    values, scales = quantized_rows(rows.contiguous())
    matrix_values, matrix_scales = quantized_rows(matrices.mT.contiguous())
    if ends is None:
        return torch._scaled_mm(values, matrix_values.mT, scales, matrix_scales.mT, out_dtype=rows.dtype)
    return torch._scaled_grouped_mm(
        values, matrix_values.mT, scales.squeeze(-1), matrix_scales.squeeze(-1), offs=ends, out_dtype=rows.dtype
    )


def fp8_linear(x: Float[Tensor, "*batch K"], weight: Float[Tensor, "N K"]) -> Float[Tensor, "*batch N"]:
    """`x @ weight.T` in FP8, forward and for the gradient of `x`."""
    output: Tensor = _Linear.apply(x, weight)
    return output


def matrix_product(
    rows: Float[Tensor, "*batch K"], matrix: Float[Tensor, "K N"], *, fp8: bool
) -> Float[Tensor, "*batch N"]:
    """`rows @ matrix`, in FP8 if `fp8`, without a gradient."""
    return fp8_product(rows, matrix) if fp8 else rows @ matrix


def fp8_product(rows: Float[Tensor, "*batch K"], matrix: Float[Tensor, "K N"]) -> Float[Tensor, "*batch N"]:
    """`rows @ matrix` in FP8, without a gradient."""
    flat = rows.flatten(0, -2)
    if flat.is_cpu or not len(flat):
        left, right = rounded_factors(flat, matrix)
        product = left @ right
    else:
        product = scaled_product(flat, matrix, None)
    output: Tensor = product.unflatten(0, rows.shape[:-1])
    return output


def _rounded(rows: Tensor) -> Tensor:
    values, scales = quantized_rows(rows)
    return (values.float() * scales).to(rows.dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return fp8_product(x, weight.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        x_gradient = fp8_product(gradient, weight) if needs_x else None
        return x_gradient, gradient.flatten(0, -2).T @ x.flatten(0, -2) if needs_weight else None
