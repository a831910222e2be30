"""Adapters of the experts: each has its own, and only the rows that reach an expert meet its matrices.

The adapters have PEFT's shape for a stack of experts: one pair for gate and up together, since the exported model holds
both in one matrix, and one for down. With h = silu(x W1^T + s x A1^T Bg^T) * (x W3^T + s x A1^T Bu^T), B1 = [Bg; Bu]:

    y = h W2^T + s h A2^T B2^T

PEFT adds s B A to the matrices of every expert in each pass; here the two thin products are computed on the rows.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels import operators
from arctic_model.kernels.grouped_products import (
    add_down_projection,
    add_inner_projection,
    down_projection,
    inner_projection,
    outer_product,
    up_projection,
)
from arctic_model.kernels.row_groups import Groups
from arctic_model.moe.experts import Experts
from arctic_model.training.lora.frozen import FrozenMatrix, dense, frozen
from arctic_model.training.optimization.settings import Lora


class LoraExperts(nn.Module):
    """E' local experts, frozen, with adapters of rank r: `gate_up_lora_A` [E', r, D], `gate_up_lora_B` [E', 2 F, r],
    `down_lora_A` [E', r, F] and `down_lora_B` [E', D, r]."""

    def __init__(self, experts: Experts, lora: Lora) -> None:
        super().__init__()
        number, inner, width = experts.w1.shape
        like: dict[str, Any] = {"device": experts.w1.device, "dtype": experts.w1.dtype}
        self.inner_widths = (inner, lora.rank)
        self.scale = lora.scale
        self.w1, self.w2, self.w3 = (
            frozen(each, quantize=lora.quantize_base) for each in (experts.w1, experts.w2, experts.w3)
        )
        self.gate_up_lora_A = nn.Parameter(torch.empty(number, lora.rank, width, **like))
        self.gate_up_lora_B = nn.Parameter(torch.empty(number, 2 * inner, lora.rank, **like))
        self.down_lora_A = nn.Parameter(torch.empty(number, lora.rank, inner, **like))
        self.down_lora_B = nn.Parameter(torch.empty(number, width, lora.rank, **like))

    def forward(self, rows: Float[Tensor, "M D"], groups: Groups) -> Float[Tensor, "M D"]:
        """The output of each expert for its own group of rows."""
        gate_up, down = (self.gate_up_lora_A, self.gate_up_lora_B), (self.down_lora_A, self.down_lora_B)
        weights = (self.w1, self.w2, self.w3)
        output: Tensor = _LoraSwiGLU.apply(rows, *gate_up, *down, weights, self.scale, groups)
        return output


class _LoraSwiGLU(torch.autograd.Function):
    """SwiGLU with adapters, see the top of this file. `low` [M, r] lies between the two matrices of an adapter, times
    the scale. Frozen matrices get no gradient, and are read again in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        a1: Tensor,
        b1: Tensor,
        a2: Tensor,
        b2: Tensor,
        weights: tuple[FrozenMatrix, FrozenMatrix, FrozenMatrix],
        scale: float,
        groups: Groups,
    ) -> Tensor:
        w1, w2, w3 = weights
        low = up_projection(rows, a1.mT, groups).mul_(scale)
        b_gate, b_up = b1.chunk(2, dim=1)
        gate = up_projection(rows, dense(w1, rows.dtype).mT, groups)
        add_inner_projection(gate, low, b_gate.mT, groups)
        up = up_projection(rows, dense(w3, rows.dtype).mT, groups)
        add_inner_projection(up, low, b_up.mT, groups)
        inner = operators.swiglu(gate, up)
        output = down_projection(inner, dense(w2, rows.dtype).mT, groups)
        ctx.save_for_backward(rows, gate, up, low, a1, b1, a2, b2)
        ctx.frozen, ctx.scale, ctx.groups = weights, scale, groups
        return add_down_projection(output, inner_projection(inner, a2.mT, groups).mul_(scale), b2.mT, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, gate, up, low, a1, b1, a2, b2 = ctx.saved_tensors
        (w1, w2, w3), scale, groups = ctx.frozen, ctx.scale, ctx.groups
        gradient = gradient.contiguous()
        down_low_gradient = up_projection(gradient, b2, groups).mul_(scale)
        gate_gradient = up_projection(gradient, dense(w2, rows.dtype), groups)
        add_inner_projection(gate_gradient, down_low_gradient, a2, groups)
        up_gradient, inner = torch.empty_like(up), torch.empty_like(up)
        operators.swiglu_backward(gate_gradient, gate, up, gate_gradient, up_gradient, inner)
        a2_gradient = outer_product(down_low_gradient, inner, groups, inner="both")
        down_low = inner_projection(inner, a2.mT, groups).mul_(scale)
        b2_gradient = outer_product(gradient, down_low, groups, inner="right")
        b_gate, b_up = b1.chunk(2, dim=1)
        low_gradient = inner_projection(gate_gradient, b_gate, groups)
        add_inner_projection(low_gradient, up_gradient, b_up, groups).mul_(scale)
        b_gradients = (outer_product(each, low, groups, inner="both") for each in (gate_gradient, up_gradient))
        a1_gradient = outer_product(low_gradient, rows, groups, inner="left")
        rows_gradient = down_projection(gate_gradient, dense(w1, rows.dtype), groups)
        add_down_projection(rows_gradient, up_gradient, dense(w3, rows.dtype), groups)
        add_down_projection(rows_gradient, low_gradient, a1, groups)
        b1_gradient = torch.cat([*b_gradients], dim=1)
        return rows_gradient, a1_gradient, b1_gradient, a2_gradient, b2_gradient, None, None, None
