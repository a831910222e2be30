"""The pass of one token through the whole model on one or two cores, part by part in compiled kernels."""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.inference.cpu.cpu_pass import ArcticParts
from arctic_model.inference.cpu.products import NONE, array, kernels, mixture_arrays, reads_rows_fast, widened
from arctic_model.layer import ArcticLayer, DenseLayer, Layer, MoELayer, SharedExpertLayer
from arctic_model.layers.attention.grouped_query import Attention, LayerCache
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation


class TokenPass:
    """Reads one id and gives its logits, equal to those of `CpuPass` up to rounding.

    Args:
        model: with all experts, and weights that `reads_rows_fast`. They must not change from now on.
    """

    def __init__(self, model: ArcticParts) -> None:
        assert reads_rows_fast(model.lm_head.weight)
        self._layers = [_TokenLayer(layer) for layer in model.model.layers]
        self._embedding = model.model.embed_tokens.weight
        self._norm = _norm(model.model.norm)
        self._head = array(model.lm_head.weight)
        self._rope = model.config.rope

    @staticmethod
    def takes(ids: Tensor, caches: list[LayerCache]) -> bool:
        """Whether a pass is over one id behind the cache of one sequence."""
        return ids.numel() == 1 and all(type(cache) is LayerCache for cache in caches)

    def logits(
        self,
        ids: Int[Tensor, "1 1"],
        positions: Int[Tensor, "1 1"],
        mask: Float[Tensor, "1 1 1 S"],
        keep: Int[Tensor, " n"],
        caches: list[LayerCache],
    ) -> Float[Tensor, "n V"]:
        """See `arctic_model.inference.language_model.LanguageModel`; `caches`: one per layer."""
        x = widened(self._embedding[ids[0]])
        angles = tuple(part.flatten().numpy() for part in rotation(positions, self._rope))
        added = mask.flatten().numpy()
        compiled = kernels()
        for layer, cache in zip(self._layers, caches, strict=True):
            x = layer(x, angles, added, cache, compiled)
        if not len(keep):
            return torch.empty(0, len(self._head))
        return torch.from_numpy(compiled.multiply(self._head, compiled.normed(x, *self._norm)))


class _TokenLayer:
    """A layer of any shape, see `arctic_model.layer`."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, Layer)
        self._attention_norm, self._attention = _norm(layer.input_layernorm), _attention(layer.self_attn)
        self._dense = self._experts = None
        if not isinstance(layer, MoELayer):
            self._dense_norm, mlp = _norm(_dense_norm(layer)), layer.residual_mlp
            self._dense = array(mlp.w1.weight), array(mlp.w2.weight), array(mlp.w3.weight)
        if not isinstance(layer, DenseLayer):
            self._experts_norm = _norm(layer.post_attention_layernorm)
            self._experts = mixture_arrays(layer.block_sparse_moe)
        self._is_parallel = isinstance(layer, ArcticLayer)

    def __call__(
        self, x: np.ndarray, angles: tuple[np.ndarray, ...], mask: np.ndarray, cache: LayerCache, kernels: ModuleType
    ) -> Any:
        attended = x.copy()
        held = cache.keys[0].numpy(), cache.values[0].numpy()
        rows = kernels.normed(x, *self._attention_norm)
        kernels.attend(rows, attended, *self._attention, angles, *held, cache.length, mask)
        cache.length += 1
        out = attended.copy()
        if self._dense:
            kernels.feed_forward(kernels.normed(attended, *self._dense_norm), out, *self._dense)
        if self._experts:
            rows = kernels.normed(x if self._is_parallel else attended, *self._experts_norm)
            kernels.mix_experts(rows, out, *self._experts)
        return out


def _dense_norm(layer: ArcticLayer | SharedExpertLayer | DenseLayer) -> RMSNorm:
    return layer.post_attention_layernorm if isinstance(layer, SharedExpertLayer) else layer.residual_layernorm


def _norm(norm: RMSNorm) -> tuple[np.ndarray, float]:
    return widened(norm.weight), norm.eps


def _attention(attention: Attention) -> tuple[Any, ...]:
    """Weights, biases, norms of heads and their epsilon, and sinks."""
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    weights = *(array(each.weight) for each in projections), array(attention.o_proj.weight)
    biases = tuple(NONE if each.bias is None else widened(each.bias) for each in projections)
    norms = [each for each in (attention.q_norm, attention.k_norm) if isinstance(each, RMSNorm)]
    head_norms = tuple(widened(each.weight) for each in norms) or (NONE, NONE)
    sinks = NONE if attention.sinks is None else widened(attention.sinks)
    return weights, biases, head_norms, norms[0].eps if norms else 0.0, sinks
