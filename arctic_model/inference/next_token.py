"""The pass of one token through the whole model on a CPU, where generation spends its time.

The code of the layers is made for training on thousands of tokens: it sorts rows by expert and stores tensors for
backward. For a single token that costs several times the arithmetic. Here a token is a vector, and its experts are
multiplied one by one. The results equal those of `ArcticModel.hidden_states` up to rounding.
"""

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.layer import ArcticLayer, DenseLayer, Layer, MoELayer, SharedExpertLayer
from arctic_model.layers.attention import Attention, LayerCache
from arctic_model.layers.embedding import TiedHead
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation
from arctic_model.moe.sparse_moe import SparseMoE


@runtime_checkable
class ArcticParts(Protocol):
    """What decoding reads of an `ArcticModel`, which stands above this package since it can generate."""

    @property
    def config(self) -> ArcticConfig: ...
    @property
    def model(self) -> Any: ...
    @property
    def lm_head(self) -> TiedHead | nn.Linear: ...
    def hidden_states(
        self, ids: Tensor, positions: Tensor, segments: Tensor, caches: list[LayerCache] | None, *, mask: Tensor
    ) -> Any:
        """See `ArcticModel.hidden_states`."""


@torch.inference_mode()
def next_state(
    model: ArcticParts, token: int, position: int, mask: Float[Tensor, "1 1 1 S"], caches: list[LayerCache]
) -> Float[Tensor, " D"]:
    """The final hidden state of `token` after the tokens in `caches`, to which its keys and values are added.

    Args:
        model: on a CPU, with all experts.
        token: the id.
        position: in its document.
        mask: added to the attention scores of the S keys, the last of which is the token's own.
        caches: see `ArcticModel.new_caches`.
    """
    turn = _Turn(position, model)
    x = model.model.embed_tokens.weight[token]
    for layer, cache in zip(model.model.layers, caches, strict=True):
        assert isinstance(layer, Layer)
        x = _layer(layer, x, turn, mask, cache)
    return _norm(model.model.norm, x)


class _Turn:
    """The rotation of one position, see `arctic_model.layers.rotary.rotation`, over whole heads."""

    def __init__(self, position: int, model: ArcticParts) -> None:
        self._half = model.config.head_dim // 2
        turned = rotation(torch.tensor([[position]]), model.config.rope)
        cos, sin = turned.cos.flatten(), turned.sin.flatten()
        self._cos, self._sin = cos.repeat(2), torch.cat([-sin, sin])

    def __call__(self, heads: Float[Tensor, "H C"]) -> Float[Tensor, "H C"]:
        wide = heads.float()
        return torch.addcmul(wide * self._cos, wide.roll(self._half, -1), self._sin).to(heads.dtype)


def _layer(layer: Layer, x: Tensor, turn: _Turn, mask: Tensor, cache: LayerCache) -> Tensor:
    attended = x + _attend(layer.self_attn, _norm(layer.input_layernorm, x), turn, mask, cache)
    match layer:
        case ArcticLayer():
            dense = attended + _mlp(layer.residual_mlp, _norm(layer.residual_layernorm, attended))
            return dense + _mixture(layer.block_sparse_moe, _norm(layer.post_attention_layernorm, x))
        case SharedExpertLayer():
            normed = _norm(layer.post_attention_layernorm, attended)
            return attended + _mlp(layer.residual_mlp, normed) + _mixture(layer.block_sparse_moe, normed)
        case MoELayer():
            return attended + _mixture(layer.block_sparse_moe, _norm(layer.post_attention_layernorm, attended))
        case DenseLayer():
            return attended + _mlp(layer.residual_mlp, _norm(layer.residual_layernorm, attended))


def _norm(norm: RMSNorm, x: Tensor) -> Tensor:
    # torch's own rms_norm takes twice as long on so short a vector.
    wide = x.float()
    scale = (torch.dot(wide, wide).item() / len(x) + norm.eps) ** -0.5
    return (wide * norm.weight).mul_(scale).to(x.dtype)


def _attend(attention: Attention, x: Tensor, turn: _Turn, mask: Tensor, cache: LayerCache) -> Tensor:
    queries, keys, values = (
        _projected(projection, x).view(-1, attention.head_dim)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    by_group = turn(queries).view(1, len(keys), -1, attention.head_dim)
    keys, values = cache.append(turn(keys)[None, :, None], values[None, :, None])
    # The queries of a group take the place of the queries of a sequence, so its keys are read once and never repeated.
    mixed = F.scaled_dot_product_attention(by_group, keys, values, attn_mask=mask)
    return torch.mv(attention.o_proj.weight, mixed.flatten())


def _projected(projection: nn.Linear, x: Tensor) -> Tensor:
    if projection.bias is None:
        return torch.mv(projection.weight, x)
    return torch.addmv(projection.bias, projection.weight, x)


def _mixture(moe: SparseMoE, x: Tensor) -> Tensor:
    routing, experts = moe.gate(x[None]), moe.experts
    total = torch.zeros_like(x)
    for weight, number in zip(routing.weights[0].tolist(), routing.experts[0].tolist(), strict=True):
        total.add_(_swiglu(x, experts.w1[number], experts.w2[number], experts.w3[number]), alpha=weight)
    return total


def _mlp(mlp: DenseMLP, x: Tensor) -> Tensor:
    return _swiglu(x, mlp.w1.weight, mlp.w2.weight, mlp.w3.weight)


def _swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    return torch.mv(w2, F.silu(torch.mv(w1, x)).mul_(torch.mv(w3, x)))
