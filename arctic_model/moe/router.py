"""Which experts a token goes to, with which weights, and what keeps the experts evenly loaded."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from arctic_model.layers.recomputation import cheap


class Routing(NamedTuple):
    """Decision for N tokens, or for those of all L layers with an axis in front.

    Float32 logits [N, E]; chosen experts [N, K] by falling score; their weights [N, K]; and with a capacity which
    assignments are `kept` [N, K], None where all are.
    """

    logits: Tensor
    experts: Tensor
    weights: Tensor
    kept: Tensor | None = None


class RouterSums(NamedTuple):
    """Sums over tokens for each layer, by which losses and telemetry are computed on any number of workers.

    `probabilities` [L, E]: softmax over all experts; `assignments` [L, E]: how often each was chosen, dropped or not;
    `z` [L]: squared log-partition; `dropped` [L]: assignments beyond the capacity; `top_weight` [L]: the larger of a
    token's weights. Probabilities and z carry gradients.
    """

    probabilities: Tensor
    assignments: Tensor
    z: Tensor
    dropped: Tensor
    top_weight: Tensor


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
        chosen, experts = torch.topk(logits, top_k, dim=-1)
    else:
        experts = torch.topk(logits.detach().softmax(dim=-1) + bias.float(), top_k, dim=-1).indices
        chosen = logits.gather(-1, experts)
    return Routing(logits, experts, chosen.softmax(dim=-1))


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
    chosen = torch.zeros(*rows.shape[:2], num_experts, dtype=torch.int32, device=experts.device).scatter_(2, rows, 1)
    place = chosen.cumsum(1).gather(2, rows)
    return (place <= capacity).view_as(experts)


def router_sums(routing: Routing, valid: Bool[Tensor, " N"]) -> RouterSums:
    """Sums of all layers' `routing` over the tokens that are `valid` (padding is routed, but nobody's load)."""
    logits, experts, weights, kept = routing
    num_layers, _, num_experts = logits.shape
    weight = valid.float()
    # The softmax, of which both need the log-partition: torch's own over so short an axis takes four times as long.
    partition = logits.logsumexp(dim=-1)
    probabilities = weight @ (logits - partition.unsqueeze(-1)).exp()
    z = partition.square() @ weight
    slots = experts[:, valid] + num_experts * torch.arange(num_layers, device=experts.device)[:, None, None]
    assignments = torch.bincount(slots.flatten(), minlength=num_layers * num_experts)
    dropped = z.new_zeros(num_layers) if kept is None else (~kept).sum(-1).float() @ weight
    top_weight = weights.detach().amax(-1) @ weight
    return RouterSums(probabilities, assignments.view(num_layers, num_experts), z, dropped, top_weight)


def updated_bias(bias: Float[Tensor, "L E"], assignments: Float[Tensor, "L E"], rate: float) -> Float[Tensor, "L E"]:
    """`bias + rate * sign(mean load - load)`: each step moves every expert's bias by the same `rate`, up where it got
    less than its share (Wang et al. 2024, arXiv 2408.15664, algorithm 1). `assignments` are those of the whole step,
    over all workers, so that the bias does not depend on their number."""
    # By sums, not means: counts are whole numbers, and rounding must not take an even load for an uneven one.
    num_experts = assignments.shape[-1]
    return bias + rate * torch.sign(assignments.sum(dim=-1, keepdim=True) - num_experts * assignments)


def balance_loss(
    load: Float[Tensor, "L E"], probabilities: Float[Tensor, "L E"], num_tokens: float
) -> Float[Tensor, ""]:
    """`E * sum_e f_e * P_e`, mean over layers: top_k at perfect balance, more the more uneven.

    `load` is f: assignments per token of each expert, both choices counted; `probabilities` are sums over tokens
    and `num_tokens` their number, so the sums of several workers or micro-batches add up to the loss of all. As in
    the released Arctic's modelling code (Fedus et al. 2021, arXiv 2101.03961, equation 4, for top-k).
    """
    return (load * probabilities).sum(dim=-1).mean() * (load.shape[-1] / num_tokens)


def z_loss(z: Float[Tensor, " L"], num_tokens: float) -> Float[Tensor, ""]:
    """Mean over tokens and layers of the squared log-partition (Zoph et al. 2022, arXiv 2202.08906, equation 5)."""
    return z.mean() / num_tokens


def max_expert_load(assignments: Float[Tensor, "L E"]) -> float:
    """The busiest expert's share of the assignments times E, mean over layers: 1 is perfect balance."""
    return float((max_violation(assignments) + 1).mean())


def max_violation(assignments: Float[Tensor, "L E"]) -> Float[Tensor, " L"]:
    """MaxVio, `max_e load_e / mean load - 1`: 0 is perfect balance (Wang et al. 2024, arXiv 2408.15664)."""
    return assignments.amax(dim=-1) / assignments.mean(dim=-1).clamp(min=torch.finfo(assignments.dtype).tiny) - 1


STARVED, CROWDED = 0.1, 3.0
"""Loads, as multiples of an even share, below and above which an expert is starved or crowded."""
JUDGED_ASSIGNMENTS = 100
"""Assignments of an expert at an even load from which on chance alone starves none."""


class Imbalance(NamedTuple):
    """Experts of all layers that are starved or crowded, and the least and the greatest load as multiples of an even
    share, each with its layer and expert."""

    starved: int
    crowded: int
    least: tuple[float, int, int]
    greatest: tuple[float, int, int]


def imbalance(assignments: Float[Tensor, "L E"]) -> Imbalance | None:
    """Of the assignments of some steps; None where they are too few to judge."""
    even = assignments.double().mean(dim=-1, keepdim=True)
    if float(even.min()) < JUDGED_ASSIGNMENTS:
        return None
    loads = assignments / even
    least, greatest = (divmod(int(place), loads.shape[1]) for place in (loads.argmin(), loads.argmax()))
    return Imbalance(
        int((loads < STARVED).sum()),
        int((loads > CROWDED).sum()),
        (float(loads[least]), *least),
        (float(loads[greatest]), *greatest),
    )


def router_figures(sums: RouterSums, num_tokens: float) -> Mapping[str, Float[Tensor, " L"]]:
    """One figure per layer, of sums over `num_tokens` real tokens.

    `load_entropy`: of the experts' shares of the assignments, 1 at perfect balance, 0 where one takes all;
    `max_violation`: see there; `dropped_share`: of all assignments; `top_weight`: mean of the larger of a token's
    weights; `z`: mean squared log-partition.
    """
    assignments = sums.assignments.double()
    total = assignments.sum(dim=-1).clamp(min=1)
    entropy = torch.special.entr(assignments / total[:, None]).sum(dim=-1)
    return {
        "load_entropy": entropy / math.log(max(2, assignments.shape[-1])),
        "max_violation": max_violation(assignments),
        "dropped_share": sums.dropped / total,
        "top_weight": sums.top_weight / num_tokens,
        "z": sums.z / num_tokens,
    }
