"""The whole model, with the released Arctic's own tensor names."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.attention import LayerCache, cached_bias, document_bias, rotation
from arctic_model.config import ArcticConfig
from arctic_model.dispatch import ExpertGroup
from arctic_model.layer import ArcticLayer
from arctic_model.normalization import RMSNorm


class HiddenStates(NamedTuple):
    """Final hidden states [B, T, D], router logits [L, N, E] and chosen experts [L, N, K] of all layers."""

    hidden: Tensor
    router_logits: Tensor
    experts: Tensor


class Backbone(nn.Module):
    def __init__(self, config: ArcticConfig, group: ExpertGroup) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
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
    ) -> HiddenStates:
        """What the head and the router's losses read. Arguments as in `forward`."""
        angles = rotation(positions, self.config.head_dim, self.config.rope_theta)
        bias = document_bias(segments) if caches is None else cached_bias(ids.shape[1], caches[0].length, ids.device)
        hidden = self.model.embed_tokens(ids)
        routings = []
        for number, layer in enumerate(self.model.layers):
            hidden, routing = layer(hidden, angles, bias, caches[number] if caches else None)
            routings.append(routing)
        return HiddenStates(
            self.model.norm(hidden),
            torch.stack([routing.logits for routing in routings]),
            torch.stack([routing.experts for routing in routings]),
        )

    def new_caches(self, capacity: int, batch: int = 1) -> list[LayerCache]:
        """Empty caches for `capacity` positions, one per layer."""
        shape = (batch, self.config.num_kv_heads, capacity, self.config.head_dim)
        like = self.lm_head.weight
        return [LayerCache(like.new_empty(shape), like.new_empty(shape)) for _ in range(self.config.num_layers)]
