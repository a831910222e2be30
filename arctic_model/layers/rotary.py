"""Rotary positions (Su et al. 2021, arXiv 2104.09864): angles in float64, and the rotation of heads by them."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.kernels import operators
from arctic_model.rope import Rope


class Rotation(NamedTuple):
    """Cosine and sine of each position's angles, [B, T, 1, head_dim / 2]."""

    cos: Tensor
    sin: Tensor


def rotation(positions: Int[Tensor, "B T"], rope: Rope, dtype: torch.dtype = torch.float32) -> Rotation:
    """Angles `position * frequency`. They are float64: in float32 the cosine at position 10^6 is off by 1.6e-2."""
    angles = positions[:, :, None, None].double() * frequencies(rope, positions.device)
    return Rotation((angles.cos() * rope.scale).to(dtype), (angles.sin() * rope.scale).to(dtype))


def frequencies(rope: Rope, device: torch.device) -> Float[Tensor, " pairs"]:
    """float64: `theta^(-2i / head_dim)` of pair i (RoFormer, equation 15), divided by YaRN's factor if that applies
    (arXiv 2309.00071, equations 19 to 21)."""
    pairs = torch.arange(rope.head_dim // 2, device=device, dtype=torch.float64)
    unscaled: Tensor = rope.theta ** (-2 * pairs / rope.head_dim)
    if rope.factor == 1:
        return unscaled
    low, high = rope.ramp()
    divided = ((pairs - low) / (high - low)).clamp_(0, 1)
    return unscaled * (1 - divided) + unscaled / rope.factor * divided


def rotate(heads: Float[Tensor, "B T H C"], rotation: Rotation) -> Float[Tensor, "B T H C"]:
    """Rotate each pair (i, i + head_dim / 2): the halves layout of GPT-NeoX, as in the released weights."""
    rotated: Tensor = _Rotate.apply(heads, rotation.cos, rotation.sin)
    return rotated


class _Rotate(torch.autograd.Function):
    """Backward rotates the gradient back, so autograd stores nothing of the input."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return operators.rotate([heads], cos, sin, 1, heads.shape[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return operators.rotate([gradient], cos, sin, -1, gradient.shape[2]), None, None
