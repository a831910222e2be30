"""Which experts a token goes to, and with which weights."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from arctic_model.layers.recomputation import cheap


class Routing(NamedTuple):
    """Decision for N tokens, or for those of all L layers with an axis in front.

    Float32 logits [N, E]; chosen experts [N, K] by falling score; their weights [N, K]; and with a capacity which
    assignments the experts accept, `keep_mask` [N, K], None if all.
    """

    logits: Tensor
    experts: Tensor
    weights: Tensor
    keep_mask: Tensor | None = None


class Router(nn.Module):
    """A linear gate in float32 whatever the model's dtype: top-k is a comparison, and rounding flips it.

    `e_score_correction_bias` (DeepSeek-V3's name) exists where the load is balanced by a bias: see `route`.
    """

    e_score_correction_bias: Tensor | None

    def __init__(self, width: int, num_experts: int, top_k: int, *, biased: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, width))
        self.register_buffer("e_score_correction_bias", torch.zeros(num_experts) if biased else None)
        self.top_k = top_k

    def forward(self, x: Float[Tensor, "N D"]) -> Routing:
        wide, weight = cheap(Tensor.float, x), cheap(Tensor.float, self.weight)
        return route(F.linear(wide, weight), self.top_k, self.e_score_correction_bias)


def route(logits: Float[Tensor, "N E"], top_k: int, bias: Float[Tensor, " E"] | None = None) -> Routing:
    """The top-k experts of each token, weights renormalised over them.

    A softmax over all experts renormalised over the chosen is the softmax over the chosen ones' logits. No noise: the
    inference code of the released Arctic does the same. `bias` is added to the softmax for the choice alone, never to
    the weights (Wang et al. 2024, arXiv 2408.15664): it moves load, and no gradient passes it.
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
    """Which assignments an expert takes: of each sequence, the first ceil(capacity_factor * T * K / E) that it gets.

    Capacity is a sequence's own and later tokens drop first. So what is dropped depends on the tokens before it in its
    sequence and on nothing else: not on later tokens, the batch, or the number of workers. (Fedus et al. 2021, arXiv
    2101.03961, equation 3, has one capacity for all tokens of a worker.)
    """
    capacity = math.ceil(capacity_factor * sequence_length * experts.shape[1] / num_experts)
    rows = experts.view(-1, sequence_length, experts.shape[1])
    counts = torch.zeros(*rows.shape[:2], num_experts, dtype=torch.int32, device=experts.device).scatter_(2, rows, 1)
    queue_position = counts.cumsum(1).gather(2, rows)
    return (queue_position <= capacity).view_as(experts)


def updated_bias(bias: Float[Tensor, "L E"], assignments: Float[Tensor, "L E"], rate: float) -> Float[Tensor, "L E"]:
    """`bias + rate * sign(mean load - load)`: each step moves every expert's bias by the same `rate`, up where it got
    less than its share (Wang et al. 2024, arXiv 2408.15664, algorithm 1). `assignments` are those of the whole step,
    over all workers, so that the bias does not depend on their number."""
    # By sums, not means: counts are whole numbers, and rounding must not take an even load for an uneven one.
    num_experts = assignments.shape[-1]
    return bias + rate * torch.sign(assignments.sum(dim=-1, keepdim=True) - num_experts * assignments)
