"""A mixture of experts for inference on workers that all read the same tokens, each with a part of the experts.

In training every worker has its own tokens, which travel to their experts. Evaluation needs the memory of several
workers and not their batches: each repeats the dense part, computes the rows of its experts, and gets the outputs of
all others. An output is computed on one worker and added to zeros on all others, which is exact. So the result is that
of one process to the bit, for any number of workers.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.kernels.operators import followed_by_zeros, weighted_sum
from arctic_model.kernels.row_groups import are_padded
from arctic_model.moe import dispatch
from arctic_model.moe.dispatch import ExpertGroup, Route
from arctic_model.moe.experts import Experts
from arctic_model.moe.router import Router, Routing
from arctic_model.moe.sparse_moe import MoEOutput, RowsInFlight, SparseMoE
from arctic_model.weight_init import initialize

ALONE = ExpertGroup()


class ReplicatedMoE(nn.Module):
    """`SparseMoE` without gradients and without a capacity, on a group whose workers call in step with equal tokens.

    Args:
        config: the sizes D, E, K and F.
        group: the workers that share the experts; each holds E / size of them.

    Raises:
        ValueError: if the group cannot split the experts evenly.
    """

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        self.group = group
        self.num_experts = config.num_experts
        self.gate = Router(config.hidden_size, config.num_experts, config.top_k, biased=config.router_bias)
        self.experts = Experts(group.num_local(config.num_experts), config.hidden_size, config.expert_size)
        initialize(self, config.init_std, group.local_experts(config.num_experts))

    def routed(self, x: Float[Tensor, "*batch T D"], capacity_factor: float = 0.0) -> MoEOutput:
        """See `SparseMoE.routed`."""
        return self.wait_combine(self.start_combine(self.start_dispatch(x, capacity_factor)))

    @torch.no_grad()
    def start_dispatch(self, x: Float[Tensor, "*batch T D"], capacity_factor: float = 0.0) -> RowsInFlight:
        """Route the tokens of `x`, and gather the rows of this worker's experts. Raises ValueError for a capacity."""
        if capacity_factor:
            raise ValueError(f"capacity_factor = {capacity_factor:g}: a model for inference drops no token. Use 0.")
        tokens = x.flatten(0, -2)
        routing = agreed(self.gate(tokens), self.group)
        local = self.group.local_experts(self.num_experts)
        is_local = (routing.experts >= local.start) & (routing.experts < local.stop)
        padded = are_padded(tokens, self.experts.w1.shape[1])
        route = Route(routing.experts - local.start, len(local), ALONE, padded, is_local)
        return RowsInFlight(dispatch.gather_tokens(tokens, route), None, route, routing, x.shape)

    @torch.no_grad()
    def start_combine(self, dispatched: RowsInFlight) -> RowsInFlight:
        """Compute this worker's experts, and launch the exchange of all outputs."""
        outputs = self.experts(dispatched.rows, dispatched.route.groups)
        by_assignment = followed_by_zeros(outputs, True).index_select(0, dispatched.route.inverse.flatten())
        return dispatched._replace(rows=by_assignment, outputs=start_sharing(by_assignment, self.group))

    @torch.no_grad()
    def wait_combine(self, returning: RowsInFlight, *bases: Float[Tensor, "*batch T D"]) -> MoEOutput:
        """Wait for the outputs, and sum them by token, see `SparseMoE.wait_combine`."""
        if returning.outputs:
            returning.outputs.wait()
        weights = returning.routing.weights
        index = torch.arange(weights.numel(), device=weights.device).view_as(weights)
        hidden = weighted_sum(returning.rows, index, weights, [base.flatten(0, -2) for base in bases], False)
        return MoEOutput(hidden.view(returning.shape), returning.routing)


Mixture = SparseMoE | ReplicatedMoE
"""Both are called alike."""


def new_mixture(config: ArcticConfig, group: ExpertGroup) -> Mixture:
    """The mixture of a layer on `group`."""
    return ReplicatedMoE(config, group) if group.same_tokens else SparseMoE(config, group)


def agreed(routing: Routing, group: ExpertGroup) -> Routing:
    """The first worker's decisions: workers on processors of different kinds may round, and so choose, otherwise."""
    if group.size > 1:
        # Ids of experts are exact in float64, so that one transfer does for both.
        both = torch.stack([routing.experts.double(), routing.weights.double()])
        dist.broadcast(both, src=0, group=group.process_group)
        experts, weights = both[0].to(routing.experts.dtype), both[1].to(routing.weights.dtype)
        return routing._replace(experts=experts, weights=weights)
    return routing


def start_sharing(outputs: Float[Tensor, "A D"], group: ExpertGroup) -> Any:
    """Launch the exchange that fills the rows of other workers' experts, which are zeros here. Returns the handle to
    wait for, None for one worker."""
    return dist.all_reduce(outputs, group=group.process_group, async_op=True) if group.size > 1 else None


def share(outputs: Float[Tensor, "A D"], group: ExpertGroup) -> Float[Tensor, "A D"]:
    """`outputs` with the rows of other workers' experts, which are zeros here, in place."""
    if handle := start_sharing(outputs, group):
        handle.wait()
    return outputs
