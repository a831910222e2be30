"""The layers of a model. In Arctic's, the dense path hides the exchanges of the experts:

    a = x + Attention(input_layernorm(x))
    r = a + residual_mlp(residual_layernorm(a))
    m = MoE(post_attention_layernorm(x))
    y = r + m

The experts read the *input* of the layer. So their rows travel out while attention computes, and back while the dense
MLP computes (Snowflake Arctic, 2024: `parallel_attn_mlp_res` in the released modelling code).

The other shapes are baselines, with a and r as above and n = post_attention_layernorm(a):

    shared    y = a + residual_mlp(n) + MoE(n)    a shared expert (Dai et al. 2024, DeepSeekMoE, arXiv 2401.06066)
    moe       y = a + MoE(n)                      no dense MLP (Jiang et al. 2024, Mixtral, arXiv 2401.04088)
    dense     y = r                               every layer without experts
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.layers.attention.grouped_query import Attention, LayerCache, Mask
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.layers.normalization import RMSNorm, added, normed
from arctic_model.layers.rotary import Rotation
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.replicated_moe import new_mixture
from arctic_model.moe.router import Routing


@dataclass(frozen=True)
class ForwardPolicy:
    """Options of a training pass.

    Args:
        capacity_factor: see `arctic_model.moe.router.within_capacity`; 0 drops nothing. A dropped assignment adds
            nothing to the output of the layer, and the other weights of the token stay as they are.
        activation_checkpointing: "selective" recomputes norms, casts and gathers in backward
            (`arctic_model.layers.recomputation`); "layer" stores the input of each layer only and recomputes the layer
            (Chen et al. 2016, arXiv 1604.06174).
    """

    capacity_factor: float = 0.0
    activation_checkpointing: Literal["none", "selective", "layer"] = "none"


class LayerOutput(NamedTuple):
    """Output of a layer [B, T, D], and the decisions of its router, None of a layer without experts."""

    hidden: Tensor
    routing: Routing | None


class ArcticLayer(nn.Module):
    """Attention and dense MLP in sequence, with a mixture of experts in parallel to both."""

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.residual_layernorm = RMSNorm(width, eps)
        self.residual_mlp = DenseMLP(width, config.mlp_size)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.block_sparse_moe = new_mixture(config, group)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
        capacity_factor: float = 0.0,
    ) -> LayerOutput:
        """The layer's output. The order of the calls is the overlap: see the module's docstring.

        Args:
            x: hidden states.
            rotation: rotary angles of the positions.
            mask: the keys that each query sees.
            cache: earlier keys and values, to which this pass adds its own.
            capacity_factor: see `ForwardPolicy`.
        """
        moe = self.block_sparse_moe
        x, for_experts, for_attention = normed(x, self.post_attention_layernorm, self.input_layernorm)
        in_flight = moe.start_dispatch(for_experts, capacity_factor)

        mixed = self.self_attn(for_attention, rotation, mask, cache)
        attended, for_dense = added(x, mixed, self.residual_layernorm)

        in_flight = moe.start_combine(in_flight)

        dense = self.residual_mlp(for_dense)

        return LayerOutput(*moe.wait_combine(in_flight, attended, dense))


class SharedExpertLayer(nn.Module):
    """Attention, then a mixture of experts in parallel to a dense MLP, the shared expert. Both read the same norm."""

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.residual_mlp = DenseMLP(width, config.mlp_size)
        self.block_sparse_moe = new_mixture(config, group)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
        capacity_factor: float = 0.0,
    ) -> LayerOutput:
        """The layer's output, see `ArcticLayer`. The shared expert hides the way to the experts."""
        x, for_attention = normed(x, self.input_layernorm)
        mixed = self.self_attn(for_attention, rotation, mask, cache)
        attended, for_mlps = added(x, mixed, self.post_attention_layernorm)
        moe = self.block_sparse_moe
        in_flight = moe.start_dispatch(for_mlps, capacity_factor)
        dense = self.residual_mlp(for_mlps)
        return LayerOutput(*moe.wait_combine(moe.start_combine(in_flight), attended, dense))


class MoELayer(nn.Module):
    """Attention, then a mixture of experts instead of the MLP."""

    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.block_sparse_moe = new_mixture(config, group)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
        capacity_factor: float = 0.0,
    ) -> LayerOutput:
        """The layer's output, see `ArcticLayer`. Nothing hides the exchanges."""
        x, for_attention = normed(x, self.input_layernorm)
        mixed = self.self_attn(for_attention, rotation, mask, cache)
        attended, for_experts = added(x, mixed, self.post_attention_layernorm)
        experts, routing = self.block_sparse_moe.routed(for_experts, capacity_factor)
        return LayerOutput(attended + experts, routing)


class DenseLayer(nn.Module):
    """Attention and dense MLP in sequence."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(config)
        self.residual_layernorm = RMSNorm(width, eps)
        self.residual_mlp = DenseMLP(width, config.mlp_size)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
        capacity_factor: float = 0.0,  # noqa: ARG002 - it has no experts
    ) -> LayerOutput:
        """The layer's output, see `ArcticLayer`."""
        x, for_attention = normed(x, self.input_layernorm)
        mixed = self.self_attn(for_attention, rotation, mask, cache)
        attended, for_dense = added(x, mixed, self.residual_layernorm)
        return LayerOutput(attended + self.residual_mlp(for_dense), None)


Layer: TypeAlias = ArcticLayer | SharedExpertLayer | MoELayer | DenseLayer
"""All are called alike."""
WITH_EXPERTS: Mapping[str, type[ArcticLayer] | type[SharedExpertLayer] | type[MoELayer]] = {
    "hybrid": ArcticLayer,
    "shared": SharedExpertLayer,
    "moe": MoELayer,
}
"""By `layer_shape` of the config."""


def new_layer(config: ArcticConfig, number: int, group: ExpertGroup) -> Layer:
    """The layer of this number."""
    return WITH_EXPERTS[config.layer_shape](config, group) if number in config.moe_layers else DenseLayer(config)
