"""RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467, equation 4)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels import operators
from arctic_model.layers.recomputation import recomputed


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis, in float32 or wider."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """The norm, in the dtype of `x`."""
        return recomputed(rms_norm, x, self.weight, self.eps)


def rms_norm(x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*batch D"]:
    """RMSNorm as a function, see `arctic_model.kernels.operators.rms_norm`."""
    normalized: Tensor = _RMSNorm.apply(x, weight, eps)
    return normalized


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normalized, scale = operators.rms_norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return normalized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return *operators.rms_norm_backward(gradient, *ctx.saved_tensors), None
