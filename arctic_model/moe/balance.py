"""Load balance of the experts: losses that even it out, and statistics that show it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arctic_model.kernels.rows import counted
from arctic_model.moe.router import Routing


class RouterSums(NamedTuple):
    """Sums over tokens for each layer. They add up over workers and passes, and losses and telemetry follow from them.

    `probabilities` [L, E]: softmax over all experts; `assignments` [L, E]: number of each expert's assignments, dropped
    or not; `z` [L]: squared log-partition; `dropped` [L]: assignments beyond the capacity; `top_weight` [L]: the
    largest weight of a token. Probabilities and z carry gradients.
    """

    probabilities: Tensor
    assignments: Tensor
    z: Tensor
    dropped: Tensor
    top_weight: Tensor


class RoutingBalance(NamedTuple):
    """Losses and figures of the routing of some tokens, means over tokens and layers; the losses carry gradients.

    `balance_loss` is top_k at perfect balance and larger otherwise; `z_loss` keeps the logits small;
    `max_expert_load` is the busiest expert's load as a multiple of an even one; `dropped_share` is the share of
    assignments beyond the capacity; `assignments` [L, E] counts the tokens of each expert.
    """

    balance_loss: Tensor
    z_loss: Tensor
    max_expert_load: float
    dropped_share: float
    assignments: Tensor


def routing_balance(routing: Routing, valid: Bool[Tensor, " N"] | None = None) -> RoutingBalance:
    """Losses and figures of `routing`, as one process sees it.

    Training over several workers adds up `router_sums` instead, so that the load covers the whole step.

    Args:
        routing: of one layer or of all layers.
        valid: False for padding, which counts for nothing. None: every token counts.

    Example:
        >>> import torch
        >>> from arctic_model import SparseMoE, preset, routing_balance
        >>> moe = SparseMoE(preset("tiny"))
        >>> hidden, routing = moe.routed(torch.randn(2, 16, 32))
        >>> balance = routing_balance(routing)
        >>> (0.01 * balance.balance_loss + 0.001 * balance.z_loss).backward()
        >>> balance.assignments.sum().item()  # two experts for each of 32 tokens
        64
    """
    if routing.logits.dim() == 2:
        logits, experts, weights, mask = routing
        routing = Routing(logits[None], experts[None], weights[None], None if mask is None else mask[None])
    if valid is None:
        valid = torch.ones(routing.logits.shape[1], dtype=torch.bool, device=routing.logits.device)
    sums = router_sums(routing, valid)
    num_tokens = float(valid.sum())
    assignments = sums.assignments.float()
    return RoutingBalance(
        balance_loss(assignments / num_tokens, sums.probabilities, num_tokens),
        z_loss(sums.z, num_tokens),
        max_expert_load(assignments),
        float(sums.dropped.sum() / assignments.sum()),
        sums.assignments,
    )


def router_sums(routing: Routing, valid: Bool[Tensor, " N"]) -> RouterSums:
    """Sums of the `routing` of all layers over the `valid` tokens (padding is routed, but is no load)."""
    logits, experts, weights, keep_mask = routing
    num_layers, _, num_experts = logits.shape
    weight = valid.float()
    # Softmax by way of the log-partition, which z needs too. torch's own takes four times as long over a short axis.
    partition = logits.logsumexp(dim=-1)
    probabilities = weight @ (logits - partition.unsqueeze(-1)).exp()
    z = partition.square() @ weight
    num_slots = num_layers * num_experts
    slots = experts + num_experts * torch.arange(num_layers, device=experts.device)[:, None, None]
    assignments = counted(slots.masked_fill(~valid[:, None], num_slots).flatten(), num_slots)
    dropped = z.new_zeros(num_layers) if keep_mask is None else (~keep_mask).sum(-1).float() @ weight
    top_weight = weights.detach().amax(-1) @ weight
    return RouterSums(probabilities, assignments.view(num_layers, num_experts), z, dropped, top_weight)


def no_routers(device: torch.device) -> RouterSums:
    """The sums of a model without experts: tables without a row."""
    table, column = torch.zeros(0, 0, device=device), torch.zeros(0, device=device)
    return RouterSums(table, table, column, column, column)


def balance_loss(
    load: Float[Tensor, "L E"], probabilities: Float[Tensor, "L E"], num_tokens: float
) -> Float[Tensor, ""]:
    """`E * sum_e f_e * P_e`, mean over layers: top_k at perfect balance, more the more uneven.

    As in the modelling code of the released Arctic (Fedus et al. 2021, arXiv 2101.03961, equation 4, for top-k).

    Args:
        load: f, assignments per token of each expert, all K counted.
        probabilities: sums over tokens, so that the losses of workers and micro-batches add up.
        num_tokens: number of tokens of the whole step.
    """
    return (load * probabilities).sum(dim=-1).mean() * (load.shape[-1] / num_tokens)


def z_loss(z: Float[Tensor, " L"], num_tokens: float) -> Float[Tensor, ""]:
    """Mean over tokens and layers of the squared log-partition (Zoph et al. 2022, arXiv 2202.08906, equation 5)."""
    return z.mean() / num_tokens


def max_expert_load(assignments: Float[Tensor, "L E"]) -> float:
    """Load of the busiest expert as a multiple of an even load, mean over layers: 1 is perfect balance."""
    return float((max_violation(assignments) + 1).mean())


def max_violation(assignments: Float[Tensor, "L E"]) -> Float[Tensor, " L"]:
    """MaxVio, `max_e load_e / mean load - 1`: 0 is perfect balance (Wang et al. 2024, arXiv 2408.15664)."""
    return assignments.amax(dim=-1) / assignments.mean(dim=-1).clamp(min=torch.finfo(assignments.dtype).tiny) - 1


STARVED, CROWDED = 0.1, 3.0
"""An expert is starved below and crowded above these multiples of an even load."""
MIN_MEAN_ASSIGNMENTS = 100
"""Mean assignments of an expert above which chance alone starves none."""


class Imbalance(NamedTuple):
    """Number of starved and of crowded experts of all layers, and the least and the greatest load as multiples of an
    even load, each with its layer and expert."""

    starved: int
    crowded: int
    least: tuple[float, int, int]
    greatest: tuple[float, int, int]


def imbalance(assignments: Float[Tensor, "L E"]) -> Imbalance | None:
    """Imbalance of the assignments of some steps; None if there are too few of them."""
    even = assignments.double().mean(dim=-1, keepdim=True)
    if float(even.min()) < MIN_MEAN_ASSIGNMENTS:
        return None
    loads = assignments / even
    least, greatest = (divmod(int(index), loads.shape[1]) for index in (loads.argmin(), loads.argmax()))
    return Imbalance(
        int((loads < STARVED).sum()),
        int((loads > CROWDED).sum()),
        (float(loads[least]), *least),
        (float(loads[greatest]), *greatest),
    )


def router_figures(sums: RouterSums, num_tokens: float) -> Mapping[str, Float[Tensor, " L"]]:
    """Statistics per layer, from sums over `num_tokens` tokens without padding.

    `load_entropy`: normalised entropy of the load, 1 at perfect balance, 0 if one expert takes all; `max_violation`:
    see there; `dropped_share`: share of all assignments; `top_weight`: mean of the largest weight of a token; `z`: mean
    squared log-partition.
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
