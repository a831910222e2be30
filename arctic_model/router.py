"""Which experts a token goes to, with which weights, and what keeps the experts evenly loaded."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Routing(NamedTuple):
    """Decision for N tokens: float32 logits [N, E], chosen experts [N, K] by falling logit, weights [N, K]."""

    logits: Tensor
    experts: Tensor
    weights: Tensor


class RouterSums(NamedTuple):
    """Sums over tokens for each layer, by which losses and telemetry are computed on any number of workers.

    `probabilities` [L, E]: softmax over all experts; `assignments` [L, E]: how often each was chosen; `z` [L]:
    squared log-partition. Probabilities and z carry gradients.
    """

    probabilities: Tensor
    assignments: Tensor
    z: Tensor


class Router(nn.Module):
    """A linear gate in float32 whatever the model's dtype: top-k is a comparison, and rounding flips it."""

    def __init__(self, width: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, width))
        self.top_k = top_k

    def forward(self, x: Float[Tensor, "N D"]) -> Routing:
        return route(F.linear(x.float(), self.weight.float()), self.top_k)


def route(logits: Float[Tensor, "N E"], top_k: int) -> Routing:
    """The top-k experts of each token, weights renormalised over them.

    A softmax over all experts renormalised over the chosen is the softmax over the chosen ones' logits. No noise,
    no capacity: every token reaches its experts (the inference code of the released Arctic does the same).
    """
    chosen, experts = torch.topk(logits, top_k, dim=-1)
    return Routing(logits, experts, chosen.softmax(dim=-1))


def router_sums(logits: Float[Tensor, "L N E"], experts: Int[Tensor, "L N K"], valid: Bool[Tensor, " N"]) -> RouterSums:
    """Sums over the tokens that are `valid` (padding is routed, but nobody's load)."""
    num_layers, _, num_experts = logits.shape
    weight = valid.float()
    probabilities = torch.einsum("lne,n->le", logits.softmax(dim=-1), weight)
    z = logits.logsumexp(dim=-1).square() @ weight
    slots = experts[:, valid] + num_experts * torch.arange(num_layers, device=experts.device)[:, None, None]
    assignments = torch.bincount(slots.flatten(), minlength=num_layers * num_experts)
    return RouterSums(probabilities, assignments.view(num_layers, num_experts), z)


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
    shares = assignments / assignments.sum(dim=-1, keepdim=True)
    return float(shares.amax(dim=-1).mean() * assignments.shape[-1])
