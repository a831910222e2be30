"""Matrices with one input multiplied as one: the path of a GPU, which reads the input once and launches once.

The weights stay separate parameters. Each product copies them together, which costs as much as a few hundred rows of
the input, and backward does so again instead of storing the copy.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels import operators
from arctic_model.kernels.fp8_products import matrix_product


def multiply_as_one(*linears: nn.Module) -> bool:
    """Whether all are plain matrices: no bias, no adapter."""
    return all(type(linear) is nn.Linear and linear.bias is None for linear in linears)


def rotated_projections(
    x: Float[Tensor, "B T D"],
    cos: Float[Tensor, "B T 1 R"],
    sin: Float[Tensor, "B T 1 R"],
    queries: Float[Tensor, "Q D"],
    keys: Float[Tensor, "P D"],
    values: Float[Tensor, "P D"],
    *,
    fp8: bool = False,
) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T G C"], Float[Tensor, "B T G C"]]:
    """The products of `x` with the three matrices, split into heads, with queries and keys rotated.

    Returns:
        Views of one tensor.
    """
    projected: tuple[Tensor, Tensor, Tensor] = _RotatedProjections.apply(x, cos, sin, fp8, queries, keys, values)
    return projected


def packed_swiglu_mlp(
    rows: Float[Tensor, "N D"],
    w1: Float[Tensor, "F D"],
    w2: Float[Tensor, "D F"],
    w3: Float[Tensor, "F D"],
    *,
    fp8: bool = False,
) -> Float[Tensor, "N D"]:
    """`arctic_model.layers.feed_forward.swiglu_mlp` of one MLP."""
    output: Tensor = _PackedSwiGLU.apply(rows, fp8, w1, w2, w3)
    return output


class _RotatedProjections(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, fp8: bool, queries: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, cos, sin, queries, keys, values)
        ctx.fp8 = fp8
        width = 2 * cos.shape[-1]
        heads = matrix_product(x, torch.cat([queries, keys, values]).T, fp8=fp8).unflatten(-1, (-1, width))
        counts = [len(weight) // width for weight in (queries, keys, values)]
        projected: tuple[Tensor, ...] = operators.rotate([heads], cos, sin, 1, sum(counts[:2])).split(counts, dim=2)
        return projected

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, cos, sin, *weights = ctx.saved_tensors
        num_rotated = gradients[0].shape[2] + gradients[1].shape[2]
        gradient = operators.rotate(list(gradients), cos, sin, -1, num_rotated).flatten(2)
        x_gradient = matrix_product(gradient, torch.cat(weights), fp8=ctx.fp8) if ctx.needs_input_grad[0] else None
        needed = any(ctx.needs_input_grad[4:])
        return x_gradient, None, None, None, *_gradients(needed, gradient.flatten(0, 1), x.flatten(0, 1), weights)


class _PackedSwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, fp8: bool, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
        packed = matrix_product(rows, torch.cat([w1, w3]).T, fp8=fp8)
        ctx.save_for_backward(rows, packed, w1, w2, w3)
        ctx.fp8 = fp8
        return matrix_product(operators.swiglu(*packed.chunk(2, dim=1)), w2.T, fp8=fp8)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, packed, w1, w2, w3 = ctx.saved_tensors
        packed_gradient = torch.empty_like(packed)
        needs_rows, _, needs_w1, needs_w2, needs_w3 = ctx.needs_input_grad
        inner = packed.new_empty(len(packed), len(w1)) if needs_w2 else None
        (gate, up), (gate_gradient, up_gradient) = packed.chunk(2, dim=1), packed_gradient.chunk(2, dim=1)
        inner_gradient = matrix_product(gradient, w2, fp8=ctx.fp8)
        operators.swiglu_backward(inner_gradient, gate, up, gate_gradient, up_gradient, inner)
        w2_gradient = None if inner is None else gradient.T @ inner
        w1_gradient, w3_gradient = _gradients(needs_w1 or needs_w3, packed_gradient, rows, [w1, w3])
        rows_gradient = matrix_product(packed_gradient, torch.cat([w1, w3]), fp8=ctx.fp8) if needs_rows else None
        return rows_gradient, None, w1_gradient, w2_gradient, w3_gradient


def _gradients(needed: bool, outputs: Tensor, inputs: Tensor, weights: list[Tensor]) -> Sequence[Tensor | None]:
    """The gradients of weights that were multiplied as one: views of one product."""
    if not needed:
        return [None] * len(weights)
    gradients: tuple[Tensor, ...] = (outputs.T @ inputs).split([len(weight) for weight in weights])
    return gradients
