"""Grouped-query attention with rotary positions, limited to the documents of packed sequences."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.config import LONGEST_BIAS, ArcticConfig
from arctic_model.kernels.fp8_products import fp8_linear
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.packed_products import multiply_as_one, rotated_projections
from arctic_model.layers.rotary import Rotation, rotate


class Documents(NamedTuple):
    """The documents of a pass: document d has tokens offsets[d] to offsets[d + 1] of the B * T.

    `offsets` is int32 on the device; `longest` is an upper bound on the length of a document, T.
    """

    offsets: Tensor
    longest: int


FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_HEAD_MULTIPLE, FLASH_HEAD_LIMIT = 8, 256
"""Head dimensions that torch's flash attention for documents accepts; it does not pad them."""
Mask: TypeAlias = Documents | Tensor
"""The keys that a query sees: documents, or a bias [B, 1, T, S] in the dtype of the queries (see `document_mask`)."""


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
    ) -> Float[Tensor, "B T H C"]:
        """Add new tokens, and mix the values that `mask`, a bias, shows."""
        assert isinstance(mask, Tensor)
        held = self.append(keys.transpose(1, 2), values.transpose(1, 2))
        mixed = F.scaled_dot_product_attention(queries.transpose(1, 2), *held, attn_mask=mask, enable_gqa=True)
        return mixed.transpose(1, 2)


class Attention(nn.Module):
    """Causal self-attention with H query heads and G key-value heads, with or without biases and norms of the heads
    (`qkv_bias` and `qk_norm` of the config). `fp8`: whether to multiply with its matrices in FP8."""

    def __init__(self, config: ArcticConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.query_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.key_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.key_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.query_size, config.hidden_size, bias=False)
        self.q_norm, self.k_norm = (_head_norm(config), _head_norm(config))
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
        mixed = attend(*heads, mask) if cache is None else cache.attend(*heads, mask)
        return self._multiplied(mixed.flatten(2), self.o_proj)

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


def document_mask(segments: Int[Tensor, "B T"], dtype: torch.dtype, head_dim: int) -> Mask:
    """The mask that all layers of a pass share: query t sees key s if s is not later and in the same document.

    Flash attention, on a GPU in half precision for heads of its sizes, takes the documents and computes no other pair.
    Everywhere else the mask of short sequences is a bias: on a CPU, document by document is slower below 1,024 tokens
    (256 tokens and 3 documents: 19.6 ms with a bias, 23.3 ms by documents in float32; 38 and 79 ms in bfloat16). The
    memory of a bias grows with the square of the length, so longer ones take the documents everywhere.
    """
    if segments.shape[1] > LONGEST_BIAS or (segments.is_cuda and takes_documents(dtype, head_dim)):
        return documents(segments)
    return document_bias(segments, dtype)


def takes_documents(dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the GPU kernel of flash attention accepts heads of this dtype and size."""
    return dtype in FLASH_DTYPES and head_dim % FLASH_HEAD_MULTIPLE == 0 and head_dim <= FLASH_HEAD_LIMIT


def documents(segments: Int[Tensor, "B T"]) -> Documents:
    """The documents of a batch: one begins with every row and at every change of segment. The tokens of a document are
    contiguous. Padding (segment -1) counts as a document, so that every token has a key."""
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    offsets = begins.flatten().nonzero().flatten()
    return Documents(F.pad(offsets, (0, 1), value=segments.numel()).int(), segments.shape[1])


def attend(
    queries: Float[Tensor, "B T H C"], keys: Float[Tensor, "B T G C"], values: Float[Tensor, "B T G C"], mask: Mask
) -> Float[Tensor, "B T H C"]:
    """The values that `mask` shows, mixed by the scores of their keys."""
    if isinstance(mask, Tensor):
        q, k, v = (heads.transpose(1, 2) for heads in (queries, keys, values))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    if not queries.is_cpu and takes_documents(queries.dtype, queries.shape[-1]):
        return attend_in_documents(queries, keys, values, mask)
    return attend_one_by_one(queries, keys, values, mask)


def attend_one_by_one(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B T G C"],
    values: Float[Tensor, "B T G C"],
    documents: Documents,
) -> Float[Tensor, "B T H C"]:
    """Causal attention document by document. Torch's kernels for that hold no matrix of scores, so that memory grows
    with the number of tokens."""
    flat = [heads.flatten(0, 1).transpose(0, 1)[None] for heads in (queries, keys, values)]
    sizes = documents.offsets.diff().tolist()
    parts = zip(*(heads.split(sizes, dim=2) for heads in flat), strict=True)
    mixed = [F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True) for q, k, v in parts]
    return torch.cat(mixed, dim=2)[0].transpose(0, 1).view_as(queries)


def attend_in_documents(
    queries: Float[Tensor, "B T H C"],
    keys: Float[Tensor, "B T G C"],
    values: Float[Tensor, "B T G C"],
    documents: Documents,
) -> Float[Tensor, "B T H C"]:
    """Causal attention inside each document, by the kernel of flash attention for sequences of unequal length."""
    # Imported here because the module imports torch's compiler: two seconds that a CPU never needs.
    from torch.nn.attention.varlen import varlen_attn

    offsets, longest = documents
    q, k, v = (tensor.flatten(0, 1) for tensor in (queries, keys, values))
    mixed = varlen_attn(q, k, v, offsets, offsets, longest, longest, window_size=(-1, 0), enable_gqa=True)
    assert isinstance(mixed, Tensor)
    return mixed.view_as(queries)


def document_bias(segments: Int[Tensor, "B T"], dtype: torch.dtype) -> Float[Tensor, "B 1 T T"]:
    """The bias of the attention scores: 0 if query t sees key s, else -inf."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return _bias(causal & (segments[:, :, None] == segments[:, None, :]), dtype)[:, None]


def cached_bias(num_new: int, num_cached: int, like: Tensor) -> Float[Tensor, "1 1 T S"]:
    """The causal bias of `num_new` queries that follow `num_cached` keys of one document."""
    full = torch.ones(num_new, num_cached + num_new, dtype=torch.bool, device=like.device)
    return _bias(full.tril(diagonal=num_cached), like.dtype)[None, None]


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)
