"""One layer, with the experts hidden behind the dense path.

    a = x + Attention(input_layernorm(x))
    r = a + residual_mlp(residual_layernorm(a))
    m = MoE(post_attention_layernorm(x))
    y = r + m

The experts read the layer's *input*. So their rows travel out while attention computes, and back while the dense
MLP computes (Snowflake Arctic, 2024: `parallel_attn_mlp_res` in the released modelling code).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.kernels.row_groups import are_padded
from arctic_model.layers.attention import Attention, LayerCache, Mask, Rotation
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.layers.normalization import RMSNorm
from arctic_model.moe import dispatch
from arctic_model.moe.dispatch import ExpertGroup, Route
from arctic_model.moe.experts import Experts
from arctic_model.moe.router import Router, Routing, within_capacity


class SparseMoE(nn.Module):
    """The router and this worker's experts."""

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        self.gate = Router(config.hidden_size, config.num_experts, config.top_k, biased=config.router_bias)
        self.experts = Experts(group.num_local(config.num_experts), config.hidden_size, config.expert_size)


@dataclass(frozen=True)
class ForwardPolicy:
    """How a training pass differs from a plain one.

    `capacity_factor`: see `arctic_model.moe.router.within_capacity`; 0 drops nothing. A dropped choice adds nothing
    to the layer's output, and the other weight of the token stays as it was. `activation_checkpointing`: "selective"
    recomputes the cheap parts in backward (`arctic_model.layers.recomputation`); "layer" keeps each layer's input only
    and recomputes the layer (Chen et al. 2016, arXiv 1604.06174).
    """

    capacity_factor: float = 0.0
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"


class LayerOutput(NamedTuple):
    hidden: Tensor
    routing: Routing


class ArcticLayer(nn.Module):
    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.group = group
        self.num_experts = config.num_experts
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.residual_layernorm = RMSNorm(width, eps)
        self.residual_mlp = DenseMLP(width)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.block_sparse_moe = SparseMoE(config, group)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
        capacity_factor: float = 0.0,
    ) -> LayerOutput:
        moe, group = self.block_sparse_moe, self.group
        tokens = self.post_attention_layernorm(x).flatten(0, 1)
        routing = moe.gate(tokens)
        if capacity_factor:
            kept = within_capacity(routing.experts, self.num_experts, x.shape[1], capacity_factor)
            routing = routing._replace(kept=kept)
        padded = are_padded(tokens, moe.experts.w1.shape[1])
        route = Route(routing.experts, self.num_experts, group, padded, routing.kept)
        rows = dispatch.gather_tokens(tokens, route)
        route.finish()
        arriving, exchange = dispatch.start_dispatch(rows, route, group)

        attended = x + self.self_attn(self.input_layernorm(x), rotation, mask, cache)

        rows = dispatch.wait_dispatch(arriving, exchange, route)
        arriving, exchange = dispatch.start_combine(moe.experts(rows, route.groups), route, group)

        dense = attended + self.residual_mlp(self.residual_layernorm(attended))

        mixed = dispatch.wait_combine(arriving, exchange, route, routing.weights)
        return LayerOutput(dense + mixed.view_as(dense), routing)
