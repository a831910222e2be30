"""Grouped-query attention with rotary positions, limited to the documents of packed sequences."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.kernels.fp8_products import fp8_linear
from arctic_model.layers.attention.context_parallel import Pieces, SharedContext, packed_keys
from arctic_model.layers.attention.document_mask import Documents, takes_documents
from arctic_model.layers.attention.merged import (
    KeyPart,
    SinkLogits,
    attend_to_keys,
    attend_to_parts,
    flash_attention,
)
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.packed_products import multiply_as_one, rotated_projections
from arctic_model.layers.rotary import Rotation, rotate

Mask: TypeAlias = Documents | Tensor | SharedContext
"""The keys that a query sees: documents, or a bias [B, 1, T, S] in the dtype of the queries (see
`arctic_model.layers.attention.document_mask.document_mask`), or those of several workers."""


@dataclass
class LayerCache:
    """Keys and values of one layer, [B, G, capacity, head_dim], filled up to `length`."""

    keys: Tensor
    values: Tensor
    length: int = 0
    rotates: ClassVar[bool] = False
    """Whether `attend` takes heads without their rotation."""

    def append(
        self, keys: Float[Tensor, "B G T C"], values: Float[Tensor, "B G T C"]
    ) -> tuple[Float[Tensor, "B G S C"], Float[Tensor, "B G S C"]]:
        """Add the new keys and values. Returns all of them so far."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def attend(
        self,
        queries: Float[Tensor, "B T H C"],
        keys: Float[Tensor, "B T G C"],
        values: Float[Tensor, "B T G C"],
        mask: Mask,
        sink_logits: SinkLogits | None = None,
    ) -> Float[Tensor, "B T H C"]:
        """Add new tokens, and mix the values that `mask`, a bias, shows."""
        assert isinstance(mask, Tensor)
        held = self.append(keys.transpose(1, 2), values.transpose(1, 2))
        return attend_to_keys(queries.transpose(1, 2), KeyPart(*held, bias=mask), sink_logits).transpose(1, 2)


class Attention(nn.Module):
    """Causal self-attention with H query heads and G key-value heads, with or without biases, norms of the heads and
    learned sinks (`qkv_bias`, `qk_norm` and `learned_sinks` of the config). `fp8`: whether to multiply with its
    matrices in FP8."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.query_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.key_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.key_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.query_size, config.hidden_size, bias=False)
        self.q_norm, self.k_norm = (_head_norm(config), _head_norm(config))
        self.sinks = nn.Parameter(torch.zeros(config.num_heads)) if config.learned_sinks else None
        self.fp8 = False

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation,
        mask: Mask,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Mixed values of the keys that `mask` shows, those in `cache` included."""
        heads = self._normed(x) if cache is not None and cache.rotates else self._projected(x, rotation)
        mixed = (attend if cache is None else cache.attend)(*heads, mask, self.sink_logits)
        return self._multiplied(mixed.flatten(2), self.o_proj)

    @property
    def sink_logits(self) -> SinkLogits | None:
        """[H, 1], or None of a model without learned sinks."""
        return None if self.sinks is None else self.sinks[:, None]

    def _projected(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, each [B, T, heads, C]."""
        linears = (self.q_proj, self.k_proj, self.v_proj)
        if not x.is_cpu and multiply_as_one(*linears) and isinstance(self.q_norm, nn.Identity):
            weights = (linear.weight for linear in linears)
            return rotated_projections(x, rotation.cos, rotation.sin, *weights, fp8=self.fp8)
        queries, keys, values = self._normed(x)
        return rotate(queries, rotation), rotate(keys, rotation), values

    def _normed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`_projected` without the rotation."""
        linears = (self.q_proj, self.k_proj, self.v_proj)
        queries, keys, values = (self._heads(self._multiplied(x, linear)) for linear in linears)
        return self.q_norm(queries), self.k_norm(keys), values

    def _multiplied(self, x: Tensor, linear: nn.Module) -> Tensor:
        if not self.fp8:
            output: Tensor = linear(x)
            return output
        assert isinstance(linear, nn.Linear)
        product = fp8_linear(x, linear.weight)
        return product if linear.bias is None else product + linear.bias

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self.head_dim))
        return heads


def _head_norm(config: ArcticConfig) -> nn.Module:
    return RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()


def attend(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B S G C"],
    values: Float[Tensor, "B S G C"],
    mask: Mask,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "B T H C"]:
    """The values that `mask` shows, mixed by the scores of their keys. `sink_logits`: [H, 1], of a model with learned
    sinks, as in all functions here."""
    visible: Documents | Pieces | Tensor
    if isinstance(mask, SharedContext):
        keys, values = mask.gather(keys, values)
        visible = mask.visible
    else:
        visible = mask
    if isinstance(visible, Tensor):
        q, k, v = (heads.transpose(1, 2) for heads in (queries, keys, values))
        return attend_to_keys(q, KeyPart(k, v, bias=visible), sink_logits).transpose(1, 2)
    is_flash = not queries.is_cpu and takes_documents(queries.dtype, queries.shape[-1])
    if isinstance(visible, Pieces):
        return (attend_in_pieces if is_flash else attend_piece_by_piece)(queries, keys, values, visible, sink_logits)
    return (attend_in_documents if is_flash else attend_one_by_one)(queries, keys, values, visible, sink_logits)


def attend_one_by_one(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B T G C"],
    values: Float[Tensor, "B T G C"],
    documents: Documents,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "B T H C"]:
    """Causal attention document by document. Torch's kernels for that hold no matrix of scores, so that memory grows
    with the number of tokens."""
    flat = [_in_a_row(heads) for heads in (queries, keys, values)]
    sizes = documents.offsets.diff().tolist()
    parts = zip(*(heads.split(sizes, dim=2) for heads in flat), strict=True)
    mixed = [attend_to_keys(q, KeyPart(k, v, is_causal=True), sink_logits) for q, k, v in parts]
    return torch.cat(mixed, dim=2)[0].transpose(0, 1).view_as(queries)


def attend_piece_by_piece(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B S G C"],
    values: Float[Tensor, "B S G C"],
    pieces: Pieces,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "B T H C"]:
    """`attend_one_by_one` for some of the queries: a piece attends to itself, and to all of its document before it."""
    q, k, v = (_in_a_row(heads) for heads in (queries, keys, values))
    mixed = []
    bounds = zip(pieces.first.tolist(), pieces.end.tolist(), strict=True)
    for some, (first, end) in zip(q.split(pieces.offsets.diff().tolist(), dim=2), bounds, strict=True):
        own = slice(end - some.shape[2], end)
        parts = [KeyPart(k[:, :, own], v[:, :, own], is_causal=True)]
        if first < own.start:
            parts.append(KeyPart(k[:, :, first : own.start], v[:, :, first : own.start]))
        mixed.append(attend_to_parts(some, parts, sink_logits))
    return torch.cat(mixed, dim=2)[0].transpose(0, 1).view_as(queries)


def attend_in_documents(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B T G C"],
    values: Float[Tensor, "B T G C"],
    documents: Documents,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "B T H C"]:
    """Causal attention inside each document, by the kernel of flash attention for sequences of unequal length."""
    q, k, v = (tensor.flatten(0, 1) for tensor in (queries, keys, values))
    return flash_attention(q, k, v, documents, documents, sink_logits).view_as(queries)


def attend_in_pieces(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B S G C"],
    values: Float[Tensor, "B S G C"],
    pieces: Pieces,
    sink_logits: SinkLogits | None = None,
) -> Float[Tensor, "B T H C"]:
    """`attend_in_documents` for some of the queries: the last query of a piece sees all of its keys."""
    numbers, of_keys = packed_keys(pieces, keys.shape[1])
    k, v = (tensor.flatten(0, 1).index_select(0, numbers) for tensor in (keys, values))
    of_queries = Documents(pieces.offsets.int(), queries.shape[1])
    return flash_attention(queries.flatten(0, 1), k, v, of_queries, of_keys, sink_logits).view_as(queries)


def _in_a_row(heads: Float[Tensor, "B T N C"]) -> Float[Tensor, "1 N R C"]:
    """The heads of all rows, one row after the other."""
    return heads.flatten(0, 1).transpose(0, 1)[None]
