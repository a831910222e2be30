"""RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467, equation 4)."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels import operators
from arctic_model.layers.recomputation import recomputable, recomputed


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


def normed(x: Float[Tensor, "*batch D"], *norms: RMSNorm) -> tuple[Tensor, ...]:
    """`x`, and each of one or two norms of it. What reads `x` beside them takes the `x` that is returned: backward adds
    all its gradients in one pass."""
    same, *results = _Norms.apply(x, None, norms[0].eps, *(norm.weight for norm in norms))
    return same, *_recomputable(results, x, norms)


def added(
    x: Float[Tensor, "*batch D"], addend: Float[Tensor, "*batch D"], norm: RMSNorm
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
    """`x + addend`, and its norm."""
    total, result = _Norms.apply(x, addend, norm.eps, norm.weight)
    return total, *_recomputable([result], total, [norm])


def _recomputable(results: Sequence[Tensor], x: Tensor, norms: Sequence[RMSNorm]) -> Iterator[Tensor]:
    return (
        recomputable(result, _one_norm, x, norm.weight, norm.eps) for result, norm in zip(results, norms, strict=True)
    )


def _one_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """By the kernel that made it: another one may round otherwise."""
    return operators.rms_norms(x, [weight], eps)[0][0]


class _Norms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, addend: Tensor | None, eps: float, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.adds = addend is not None
        if addend is None:
            results, scale = operators.rms_norms(x, list(weights), eps)
        else:
            x, *results, scale = operators.add_rms_norm(x, addend, weights[0], eps)
        ctx.save_for_backward(x, scale, *weights)
        return x, *results

    @staticmethod
    def backward(ctx: Any, residual: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, *weights = ctx.saved_tensors
        gradient, weight_gradients = operators.rms_norms_backward(residual, list(gradients), x, weights, scale)
        return gradient, gradient if ctx.adds else None, None, *weight_gradients


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normalized, scale = operators.rms_norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return normalized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return *operators.rms_norm_backward(gradient, *ctx.saved_tensors), None
