"""Which experts a token goes to, and with which weights."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from arctic_model.kernels.precision import widened


class Routing(NamedTuple):
    """The router's decision for N tokens of one layer, or of all layers with an axis L in front.

    `logits` [N, E] float32; `experts` [N, K] by descending score; `weights` [N, K] of these experts; `keep_mask` [N, K]
    marks the assignments within the capacity, None without a capacity.
    """

    logits: Tensor
    experts: Tensor
    weights: Tensor
    keep_mask: Tensor | None = None


class Router(nn.Module):
    """A linear gate in float32 for any dtype of the model: top-k compares, and rounding would flip the comparison.

    `e_score_correction_bias` (DeepSeek-V3's name) exists if a bias balances the load: see `route`.
    """

    e_score_correction_bias: Tensor | None

    def __init__(self, width: int, num_experts: int, top_k: int, *, biased: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, width))
        self.register_buffer("e_score_correction_bias", torch.zeros(num_experts) if biased else None)
        self.top_k = top_k

    def forward(self, x: Float[Tensor, "N D"]) -> Routing:
        """The experts of each token, see `route`."""
        return route(_GateLogits.apply(x, self.weight), self.top_k, self.e_score_correction_bias)


class _GateLogits(torch.autograd.Function):
    """The product in float32. Autograd stores its factors in their own dtype, not their copies in float32.

    A GPU multiplies bfloat16 exactly and adds in float32, so it needs no copy of the tokens; in backward it rounds the
    gradient of the logits to the dtype of the tokens.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if _adds_in_float32(x, weight):
            return torch.mm(x, weight.T, out_dtype=torch.float32)
        return F.linear(widened(x), widened(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        if _adds_in_float32(x, weight):
            gradient, wide, wide_weight = gradient.to(x.dtype), x, weight
        else:
            wide, wide_weight = widened(x), widened(weight)
        weight_gradient = (gradient.T @ wide).to(weight.dtype) if ctx.needs_input_grad[1] else None
        return (gradient @ wide_weight).to(x.dtype), weight_gradient


def _adds_in_float32(x: Tensor, weight: Tensor) -> bool:
    return not x.is_cpu and x.dtype == weight.dtype and x.dtype in (torch.bfloat16, torch.float16)


def route(logits: Float[Tensor, "N E"], top_k: int, bias: Float[Tensor, " E"] | None = None) -> Routing:
    """The top-k experts of each token, with weights renormalised over them.

    A softmax over all experts renormalised over the top-k equals the softmax over the top-k logits. There is no noise,
    as in the inference code of the released Arctic.

    Args:
        logits: scores of the gate.
        top_k: K.
        bias: added to the softmax when the experts are selected, never to the weights (Wang et al. 2024, arXiv
            2408.15664). It moves load, and no gradient passes through it.
    """
    if bias is None:
        top_logits, experts = torch.topk(logits, top_k, dim=-1)
    else:
        experts = torch.topk(logits.detach().softmax(dim=-1) + bias.float(), top_k, dim=-1).indices
        top_logits = logits.gather(-1, experts)
    return Routing(logits, experts, top_logits.softmax(dim=-1))


def within_capacity(
    experts: Int[Tensor, "N K"], num_experts: int, sequence_length: int, capacity_factor: float
) -> Bool[Tensor, "N K"]:
    """The assignments that an expert accepts: of each sequence, its first ceil(capacity_factor * T * K / E).

    Each sequence has a separate capacity, and later tokens drop first. A drop depends on the earlier tokens of the
    sequence alone: not on later tokens, the batch, or the number of workers. (Fedus et al. 2021, arXiv 2101.03961,
    equation 3, has one capacity for all tokens of a worker.)

    Args:
        experts: of the tokens of whole sequences.
        num_experts: E.
        sequence_length: T.
        capacity_factor: capacity as a multiple of an even load.
    """
    capacity = math.ceil(capacity_factor * sequence_length * experts.shape[1] / num_experts)
    rows = experts.view(-1, sequence_length, experts.shape[1])
    counts = torch.zeros(*rows.shape[:2], num_experts, dtype=torch.int32, device=experts.device).scatter_(2, rows, 1)
    queue_position = counts.cumsum(1).gather(2, rows)
    return (queue_position <= capacity).view_as(experts)


def updated_bias(bias: Float[Tensor, "L E"], assignments: Float[Tensor, "L E"], rate: float) -> Float[Tensor, "L E"]:
    """`bias + rate * sign(mean load - load)`: each step moves the bias of every expert by `rate`, up if its load was
    below the mean (Wang et al. 2024, arXiv 2408.15664, algorithm 1).

    `assignments` count the whole step over all workers, so that the bias does not depend on their number.
    """
    # Sums instead of means: counts are integers, and a rounded mean could make an even load look uneven.
    num_experts = assignments.shape[-1]
    return bias + rate * torch.sign(assignments.sum(dim=-1, keepdim=True) - num_experts * assignments)
