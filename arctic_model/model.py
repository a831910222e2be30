"""The whole model, with the released Arctic's own tensor names."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from arctic_model.config import ArcticConfig
from arctic_model.layer import ArcticLayer, ForwardPolicy
from arctic_model.layers.attention import LayerCache, Mask, cached_bias, document_mask, rotation
from arctic_model.layers.embedding import TokenEmbedding
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.recomputation import selective
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.router import Router, Routing, updated_bias

PLAIN = ForwardPolicy()
"""Nothing dropped, everything kept: inference, as the released model's."""


class HiddenStates(NamedTuple):
    """Final hidden states [B, T, D], and the routing of all layers, its tensors with an axis L in front."""

    hidden: Tensor
    routing: Routing


class Backbone(nn.Module):
    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(ArcticLayer(config, group) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class ArcticModel(nn.Module):
    """A causal language model. Holds all experts, or this worker's share of them under an expert group.

    Weights are not set here: they come from `weight_init.initialize` or from a checkpoint.
    """

    def __init__(self, config: ArcticConfig, group: ExpertGroup | None = None) -> None:
        super().__init__()
        self.config = config
        self.group = group or ExpertGroup()
        self.model = Backbone(config, self.group)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        segments: Int[Tensor, "B T"],
        caches: list[LayerCache] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next token at every position.

        `positions` count from 0 in each document; `segments` number the documents of a row, -1 is padding.
        With `caches` (see `new_caches`), `ids` go on from what they hold: one document, so segments have no say.
        """
        return self.lm_head(self.hidden_states(ids, positions, segments, caches).hidden)

    def hidden_states(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        segments: Int[Tensor, "B T"],
        caches: list[LayerCache] | None = None,
        policy: ForwardPolicy = PLAIN,
        mask: Mask | None = None,
    ) -> HiddenStates:
        """What the head and the router's losses read. Arguments as in `forward`; `policy` is that of training; `mask`
        says which keys each query sees where that does not follow from segments or caches."""
        angles = rotation(positions, self.config.head_dim, self.config.rope_theta)
        hidden = self.model.embed_tokens(ids)
        if mask is None and caches:
            mask = cached_bias(ids.shape[1], caches[0].length, hidden)
        elif mask is None:
            mask = document_mask(segments, hidden.dtype, self.config.head_dim)
        routings = []
        for number, layer in enumerate(self.model.layers):
            inputs = (hidden, angles, mask, caches[number] if caches else None, policy.capacity_factor)
            if policy.activation_checkpointing == "layer":
                # Nothing is drawn in a layer, so there is no random state to keep.
                hidden, routing = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                with selective() if policy.activation_checkpointing == "selective" else nullcontext():
                    hidden, routing = layer(*inputs)
            routings.append(routing)
        return HiddenStates(self.model.norm(hidden), _stacked(routings))

    @torch.no_grad()
    def balance(self, assignments: Float[Tensor, "L E"], rate: float) -> None:
        """Move the routers' biases against the load of a step (see `arctic_model.moe.router.updated_bias`).

        Raises ValueError where the model was built without `router_bias`.
        """
        if not self.config.router_bias:
            raise ValueError(
                "train.balance_bias_rate moves biases that the model has not. Set model.router_bias = true."
            )
        biases = torch.stack(list(self.buffers()))
        self.set_router_biases(updated_bias(biases.double(), assignments.to(biases.device), rate))

    def set_router_biases(self, biases: Float[Tensor, "L E"]) -> None:
        """Take the biases of all layers, in float32 whatever the model's dtype: a step of 0.001 is lost in bfloat16."""
        for router, bias in zip(self._routers, biases.float().to(self.lm_head.weight.device), strict=True):
            # Assigned and not copied: whoever casts the model, as DeepSpeed does, casts its buffers too.
            router.e_score_correction_bias = bias.clone()

    @property
    def _routers(self) -> list[Router]:
        return [module for module in self.modules() if isinstance(module, Router)]

    def new_caches(self, capacity: int, batch: int = 1) -> list[LayerCache]:
        """Empty caches for `capacity` positions, one per layer."""
        shape = (batch, self.config.num_kv_heads, capacity, self.config.head_dim)
        like = self.lm_head.weight
        return [LayerCache(like.new_empty(shape), like.new_empty(shape)) for _ in range(self.config.num_layers)]


def _stacked(routings: list[Routing]) -> Routing:
    logits, experts, weights, kept = zip(*routings, strict=True)
    dropless = kept[0] is None
    return Routing(
        torch.stack(logits), torch.stack(experts), torch.stack(weights), None if dropless else torch.stack(kept)
    )
