"""The pass of a few tokens through the whole model on a CPU, which takes most of the time of generation.

The code of the layers is made for training on thousands of tokens: it sorts rows by expert and stores tensors for
backward. For a single token that costs several times the arithmetic. Here only the experts that are chosen are read,
one by one. The results equal those of `ArcticModel.hidden_states` up to rounding.

Rows are in float32 for weights in bfloat16 too, which only halve the bytes that are read. So a result hardly depends on
the rows beside it: rounded to bfloat16, sums in another order would choose other experts and other tokens.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.inference.cache.slots import PackedCache
from arctic_model.inference.cpu.products import FewRowsMixture, Product, reads_rows_fast
from arctic_model.layer import ArcticLayer, DenseLayer, Layer, MoELayer, SharedExpertLayer
from arctic_model.layers.attention.grouped_query import Attention, LayerCache
from arctic_model.layers.attention.merged import KeyPart, attend_to_keys
from arctic_model.layers.attention.stream_cache import StreamCache, StreamRows
from arctic_model.layers.embedding import TiedHead
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.moe.replicated_moe import Mixture, agreed, share


@runtime_checkable
class ArcticParts(Protocol):
    """The parts of an `ArcticModel` that decoding reads; the model is a layer above this package since it can
    generate."""

    @property
    def config(self) -> ArcticConfig: ...
    @property
    def model(self) -> Any: ...
    @property
    def lm_head(self) -> TiedHead | nn.Linear: ...
    @property
    def group(self) -> ExpertGroup: ...
    def hidden_states(
        self, ids: Tensor, positions: Tensor, segments: Tensor, caches: list[LayerCache] | None, *, mask: Tensor
    ) -> Any:
        """See `ArcticModel.hidden_states`."""


class CpuPass:
    """Reads ids and gives logits.

    Args:
        model: on a CPU; with a group, all of its workers call in step. Its weights must not change from now on.
        packed: whether its weights are copied into a layout that several rows read faster, see `Product`.
    """

    def __init__(self, model: ArcticParts, *, packed: bool = False) -> None:
        self._model = model
        self._layers = [_CpuLayer(layer, packed) for layer in model.model.layers]
        self._head = Product([model.lm_head.weight], packed=packed)

    def logits(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        mask: Float[Tensor, "B 1 T S"],
        keep: Int[Tensor, " n"],
        caches: list[LayerCache] | None,
    ) -> Float[Tensor, "n V"]:
        """See `arctic_model.inference.language_model.LanguageModel`; `caches`: one per layer, None for no earlier
        ids."""
        backbone = self._model.model
        embedded = backbone.embed_tokens.weight[ids.flatten()]
        x = embedded.to(computing_dtype(embedded))
        turn = _Turn(positions, self._model)
        held: Sequence[LayerCache | None] = caches or [None for _ in self._layers]
        for layer, cache in zip(self._layers, held, strict=True):
            x = layer(x, turn, mask, cache)
        [logits] = self._head(_norm(backbone.norm, x[keep]))
        return logits.float()


def computing_dtype(weight: Tensor) -> torch.dtype:
    """Of the rows that are multiplied by such a weight, and of keys and values."""
    return torch.promote_types(weight.dtype, torch.float32) if weight.is_cpu else weight.dtype


class _Turn:
    """The rotation of each row, see `arctic_model.layers.rotary.rotation`, over whole heads."""

    def __init__(self, positions: Int[Tensor, "B T"], model: ArcticParts) -> None:
        self.shape = positions.shape
        self._half = model.config.head_dim // 2
        turned = rotation(positions, model.config.rope)
        cos, sin = turned.cos.flatten(0, 1), turned.sin.flatten(0, 1)
        self._cos, self._sin = cos.repeat(1, 1, 2), torch.cat([-sin, sin], -1)

    def __call__(self, heads: Float[Tensor, "N H C"]) -> Float[Tensor, "N H C"]:
        wide = heads.float()
        return torch.addcmul(wide * self._cos, wide.roll(self._half, -1), self._sin).to(heads.dtype)


class _CpuLayer:
    """A layer over rows [N, D], in which `turn.shape` = B, T has N = B * T."""

    def __init__(self, layer: nn.Module, packed: bool) -> None:
        assert isinstance(layer, Layer)
        self._layer = layer
        self._attention = _CpuAttention(layer.self_attn, packed)
        self._dense = None if isinstance(layer, MoELayer) else _mlp(layer.residual_mlp, packed)
        self._mixture = None if isinstance(layer, DenseLayer) else _Mixture(layer.block_sparse_moe, packed)

    def __call__(self, x: Tensor, turn: _Turn, mask: Tensor, cache: LayerCache | None) -> Tensor:
        layer, dense, mixture = self._layer, self._dense, self._mixture
        attended = x + self._attention(_norm(layer.input_layernorm, x), turn, mask, cache)
        match layer:
            case ArcticLayer():
                assert dense and mixture
                sums = attended + dense(_norm(layer.residual_layernorm, attended))
                return sums + mixture(_norm(layer.post_attention_layernorm, x))
            case SharedExpertLayer():
                assert dense and mixture
                normed = _norm(layer.post_attention_layernorm, attended)
                return attended + dense(normed) + mixture(normed)
            case MoELayer():
                assert mixture
                return attended + mixture(_norm(layer.post_attention_layernorm, attended))
            case DenseLayer():
                assert dense
                return attended + dense(_norm(layer.residual_layernorm, attended))


def _norm(norm: RMSNorm, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    # Torch's own rms_norm takes twice as long on so few rows.
    wide = x.float()
    scale = wide.square().mean(-1, keepdim=True).add_(norm.eps).rsqrt_()
    return (wide * norm.weight).mul_(scale).to(x.dtype)


class _CpuAttention:
    def __init__(self, attention: Attention, packed: bool) -> None:
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        biases = [each.bias for each in projections if each.bias is not None]
        self._qkv = Product([each.weight for each in projections], biases, packed=packed)
        self._output = Product([attention.o_proj.weight], packed=packed)
        self._attention = attention

    def __call__(
        self, x: Float[Tensor, "N D"], turn: _Turn, mask: Tensor, cache: LayerCache | None
    ) -> Float[Tensor, "N D"]:
        queries, keys, values = (part.unflatten(1, (-1, self._attention.head_dim)) for part in self._qkv(x))
        queries, keys = self._normed(self._attention.q_norm, queries), self._normed(self._attention.k_norm, keys)
        [output] = self._output(self._mixed(queries, keys, values, turn, mask, cache).flatten(1))
        return output

    def _mixed(
        self,
        queries: Float[Tensor, "N H C"],
        keys: Float[Tensor, "N G C"],
        values: Float[Tensor, "N G C"],
        turn: _Turn,
        mask: Tensor,
        cache: LayerCache | None,
    ) -> Float[Tensor, "N H C"]:
        """Values that the queries take from all keys."""
        if isinstance(cache, StreamCache | StreamRows):
            queries, keys, values = (part.unflatten(0, turn.shape) for part in (queries, keys, values))
            return cache.attend(queries, keys, values, mask, self._attention.sink_logits).flatten(0, 1)
        queries, keys = turn(queries), turn(keys)
        if isinstance(cache, PackedCache):
            return cache.attend(queries[None], keys[None], values[None], mask, self._attention.sink_logits)[0]
        num_rows, num_groups, _ = keys.shape
        keys, values = (part.unflatten(0, turn.shape).transpose(1, 2) for part in (keys, values))
        if cache is not None:
            keys, values = cache.append(keys, values)
        part = KeyPart(keys, values, bias=mask)
        if num_rows == turn.shape[0]:
            # The queries of a group are laid out as those of a sequence: its keys are read once, never repeated.
            by_group = queries.unflatten(1, (num_groups, -1))
            sinks = None if self._attention.sinks is None else self._attention.sinks.unflatten(0, (num_groups, -1))
            return attend_to_keys(by_group, part, sinks).flatten(1, 2)
        by_row = queries.unflatten(0, turn.shape).transpose(1, 2)
        return attend_to_keys(by_row, part, self._attention.sink_logits).transpose(1, 2).flatten(0, 1)

    @staticmethod
    def _normed(norm: nn.Module, heads: Tensor) -> Tensor:
        return _norm(norm, heads) if isinstance(norm, RMSNorm) else heads


class _SwiGLU:
    def __init__(self, w1: Tensor, w2: Tensor, w3: Tensor, packed: bool) -> None:
        self._up = Product([w1, w3], packed=packed)
        self._down = Product([w2], packed=packed)

    def __call__(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        gate, up = self._up(x)
        [down] = self._down(F.silu(gate).mul_(up))
        return down


def _mlp(mlp: DenseMLP, packed: bool) -> _SwiGLU:
    return _SwiGLU(mlp.w1.weight, mlp.w2.weight, mlp.w3.weight, packed)


class _Mixture:
    """The chosen experts, each with all rows that chose it."""

    def __init__(self, moe: Mixture, packed: bool) -> None:
        self._gate, self._group, self._num_experts = moe.gate, moe.group, moe.num_experts
        has_all = moe.group.size == 1
        self._few = FewRowsMixture(moe, packed=packed) if has_all and reads_rows_fast(moe.experts.w1) else None
        stacks = zip(moe.experts.w1, moe.experts.w2, moe.experts.w3, strict=True)
        numbers = moe.group.local_experts(moe.num_experts)
        self._experts = {number: _SwiGLU(*weights, packed) for number, weights in zip(numbers, stacks, strict=True)}

    def __call__(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        if self._few and self._few.takes(x):
            return self._few(x)
        routing = agreed(self._gate(x), self._group)
        total = torch.zeros_like(x)
        if len(x) == 1:
            outputs = [self._output(number, x) for number in routing.experts[0].tolist()]
            if self._group.size > 1:
                outputs = list(share(torch.cat(outputs), self._group).split(1))
            for weight, output in zip(routing.weights[0].tolist(), outputs, strict=True):
                total.add_(output, alpha=weight)
            return total
        expert_ids = routing.experts.flatten()
        order = expert_ids.argsort(stable=True)
        tokens = order // routing.experts.shape[1]
        rows = x.index_select(0, tokens)
        counts = torch.bincount(expert_ids, minlength=self._num_experts).tolist()
        for number, part in enumerate(rows.split(counts)):
            if len(part):
                part.copy_(self._output(number, part))
        weights = routing.weights.flatten()[order].to(x.dtype)
        return total.index_add_(0, tokens, share(rows, self._group).mul_(weights[:, None]))

    def _output(self, number: int, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The output of an expert, zeros of one that another worker holds."""
        expert = self._experts.get(number)
        return expert(rows) if expert else torch.zeros_like(rows)
