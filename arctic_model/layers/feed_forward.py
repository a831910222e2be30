"""SwiGLU: the MLP of the dense path, and the function that computes it there and in the experts."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels import operators
from arctic_model.kernels.grouped_products import add_down_projection, down_projection, outer_product, up_projection
from arctic_model.kernels.row_groups import Groups
from arctic_model.layers.packed_products import packed_swiglu_mlp


class DenseMLP(nn.Module):
    """Arctic's residual MLP: gate `w1` and up `w3` from `width` to `inner`, down `w2`, no bias. `fp8`: whether to
    multiply in FP8."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)
        self.fp8 = False

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """See `swiglu_mlp`."""
        compute = swiglu_mlp if x.is_cpu else packed_swiglu_mlp
        return compute(x.flatten(0, -2), self.w1.weight, self.w2.weight, self.w3.weight, fp8=self.fp8).view_as(x)


def swiglu_mlp(
    rows: Float[Tensor, "M D"],
    w1: Float[Tensor, "*E F D"],
    w2: Float[Tensor, "*E D F"],
    w3: Float[Tensor, "*E F D"],
    groups: Groups | None = None,
    *,
    fp8: bool = False,
) -> Float[Tensor, "M D"]:
    """`(silu(rows @ w1.T) * (rows @ w3.T)) @ w2.T` (Shazeer 2020, arXiv 2002.05202, equation 6, without biases).

    Its backward computes the gradients of the weights in the layout of the weights (torch's computes those of the
    transposes and copies them), and recomputes the inner activations instead of storing them.

    Args:
        rows: [M, D], sorted by group if there are groups.
        w1: gate [F, D]; with `groups` a stack [E, F, D].
        w2: down [D, F] or [E, D, F].
        w3: up [F, D] or [E, F, D].
        groups: the rows of each expert. None: one MLP for all rows.
        fp8: whether to multiply in FP8, see `arctic_model.kernels.fp8_products`.
    """
    output: Tensor = _SwiGLU.apply(rows, w1, w2, w3, groups, fp8)
    return output


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, groups: Groups | None, fp8: bool) -> Tensor:
        gate, up = up_projection(rows, w1.mT, groups, fp8=fp8), up_projection(rows, w3.mT, groups, fp8=fp8)
        ctx.save_for_backward(rows, gate, up, w1, w2, w3)
        ctx.groups, ctx.fp8 = groups, fp8
        return down_projection(operators.swiglu(gate, up), w2.mT, groups, fp8=fp8)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, gate, up, w1, w2, w3 = ctx.saved_tensors
        groups, fp8 = ctx.groups, ctx.fp8
        # The grouped kernels refuse a gradient without strides, such as that of a sum.
        gradient = gradient.contiguous()
        _, needs_w1, needs_w2, needs_w3, *_ = ctx.needs_input_grad
        gate_gradient, up_gradient = up_projection(gradient, w2, groups, fp8=fp8), torch.empty_like(up)
        inner = torch.empty_like(up) if needs_w2 else None
        operators.swiglu_backward(gate_gradient, gate, up, gate_gradient, up_gradient, inner)
        w2_gradient = None if inner is None else outer_product(gradient, inner, groups, inner="right")
        del inner
        rows_gradient = down_projection(gate_gradient, w1, groups, fp8=fp8)
        add_down_projection(rows_gradient, up_gradient, w3, groups, fp8=fp8)
        w1_gradient = outer_product(gate_gradient, rows, groups, inner="left") if needs_w1 else None
        w3_gradient = outer_product(up_gradient, rows, groups, inner="left") if needs_w3 else None
        return rows_gradient, w1_gradient, w2_gradient, w3_gradient, None, None
