"""The mixture of experts as a separate module: router, dispatch, experts, combine.

`SparseMoE(config)(x)` replaces the MLP of any transformer. `ArcticLayer` calls the same three steps one by one and
puts its dense path between them, so that the dense path hides the exchanges.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.kernels.row_groups import are_padded
from arctic_model.moe import dispatch
from arctic_model.moe.dispatch import Exchange, ExpertGroup, Route
from arctic_model.moe.experts import Experts
from arctic_model.moe.router import Router, Routing, within_capacity
from arctic_model.weight_init import initialize


class MoEOutput(NamedTuple):
    """Output of the experts in the shape of the input, and the router's decisions for its N tokens."""

    hidden: Tensor
    routing: Routing


class RowsInFlight(NamedTuple):
    """Rows between two steps of a SparseMoE: on their way to the experts, or back. `shape` is that of the input;
    `outputs`: the handle of a ReplicatedMoE's exchange."""

    rows: Tensor
    exchange: Exchange | None
    route: Route
    routing: Routing
    shape: torch.Size
    outputs: Any = None


class SparseMoE(nn.Module):
    """Top-k mixture of SwiGLU experts (Shazeer et al. 2017, arXiv 1701.06538), dropless unless a capacity is given.

    Of `config` it reads `hidden_size`, `num_experts`, `top_k`, `expert_size`, `router_bias` and `init_std`.

    Args:
        config: the sizes D, E, K and F.
        group: the workers that share the experts; each holds E / size of them. None: this process holds all.
        seed: seed of the initial weights, the same on all workers of the group. None draws from torch's default
            generator.

    Raises:
        ValueError: if the group cannot split the experts evenly.

    Example:
        >>> import torch
        >>> from arctic_model import SparseMoE, preset
        >>> moe = SparseMoE(preset("tiny"))  # width 32, 2 of 4 experts per token
        >>> moe(torch.randn(2, 16, 32)).shape
        torch.Size([2, 16, 32])
    """

    def __init__(self, config: ArcticConfig, group: ExpertGroup | None = None, *, seed: int | None = None) -> None:
        super().__init__()
        self.group = group or ExpertGroup()
        self.num_experts = config.num_experts
        self.gate = Router(config.hidden_size, config.num_experts, config.top_k, biased=config.router_bias)
        self.experts = Experts(self.group.num_local(config.num_experts), config.hidden_size, config.expert_size)
        initialize(self, config.init_std, self.group.local_experts(config.num_experts), seed)

    def forward(self, x: Float[Tensor, "*batch T D"]) -> Float[Tensor, "*batch T D"]:
        """The weighted sum of each token's experts. With a group, all of its workers call in step.

        Args:
            x: [B, T, D] sequences, or [N, D] tokens.

        Returns:
            A tensor of the shape of `x`.
        """
        return self.routed(x).hidden

    def routed(self, x: Float[Tensor, "*batch T D"], capacity_factor: float = 0.0) -> MoEOutput:
        """`forward`, with the router's decisions: `arctic_model.routing_balance` computes losses and figures of them.

        Args:
            x: [B, T, D] sequences, or [N, D] tokens.
            capacity_factor: capacity of an expert per sequence as a multiple of an even load, see
                `arctic_model.moe.router.within_capacity`; 0 drops nothing. Tokens [N, D] count as one sequence.
        """
        return self.wait_combine(self.start_combine(self.start_dispatch(x, capacity_factor)))

    def start_dispatch(self, x: Float[Tensor, "*batch T D"], capacity_factor: float = 0.0) -> RowsInFlight:
        """Route the tokens of `x` and launch their rows to the workers that hold their experts."""
        tokens = x.flatten(0, -2)
        routing = self.gate(tokens)
        if capacity_factor:
            mask = within_capacity(routing.experts, self.num_experts, x.shape[-2], capacity_factor)
            routing = routing._replace(keep_mask=mask)
        padded = are_padded(tokens, *self.experts.inner_widths)
        route = Route(routing.experts, self.num_experts, self.group, padded, routing.keep_mask)
        rows = dispatch.gather_tokens(tokens, route)
        route.finish()
        return RowsInFlight(*dispatch.start_dispatch(rows, route, self.group), route, routing, x.shape)

    def start_combine(self, dispatched: RowsInFlight) -> RowsInFlight:
        """Wait for the rows, compute this worker's experts, and launch their outputs back."""
        rows = dispatch.wait_dispatch(dispatched.rows, dispatched.exchange, dispatched.route)
        outputs = self.experts(rows, dispatched.route.groups)
        returning, exchange = dispatch.start_combine(outputs, dispatched.route, self.group)
        return dispatched._replace(rows=returning, exchange=exchange)

    def wait_combine(self, returning: RowsInFlight, *bases: Float[Tensor, "*batch T D"]) -> MoEOutput:
        """Wait for the outputs, and sum them by token, added to up to two `bases` in the shape of the input."""
        routing = returning.routing
        flat = (base.flatten(0, -2) for base in bases)
        hidden = dispatch.wait_combine(returning.rows, returning.exchange, returning.route, routing.weights, *flat)
        return MoEOutput(hidden.view(returning.shape), routing)
