"""The pass of one token of each of several sequences through the whole model on a CPU, compiled as a whole.

Between two tokens the weights fill all caches: a call of torch takes 5 to 30 microseconds then, for no more than a few
numbers. So all that is equal for many tokens is looked up once.
"""

import threading
from collections.abc import Sequence
from weakref import ref

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arctic_model.inference.cache.slots import RaggedCache
from arctic_model.inference.cpu.cpu_pass import ArcticParts
from arctic_model.inference.cpu.products import array, kernels, reads_rows_fast, widened
from arctic_model.layer import ArcticLayer, DenseLayer, Layer, MoELayer, SharedExpertLayer
from arctic_model.layers.attention.grouped_query import Attention, LayerCache
from arctic_model.layers.normalization import RMSNorm
from arctic_model.layers.rotary import rotation

POSITIONS = 256
"""Positions whose rotations are computed together."""
MOST_ROWS = 64
"""Sequences that are read side by side."""
_CACHES = LayerCache, RaggedCache
"""Caches whose slots hold sequences from their first id on, one for each row of a pass."""


class _LastToken(threading.local):
    """What this thread read its last tokens with: records of the layers, the memory of the cache that they have the
    addresses of, and the rotations of all positions of each part of POSITIONS that was asked for."""

    def __init__(self, layers: np.ndarray) -> None:
        self.layers = layers.copy()
        self.memory: list[ref[Tensor]] = []
        self.rotations: dict[int, np.ndarray] = {}


class TokenPass:
    """Reads one id of each sequence and gives the logits, equal to those of `CpuPass` up to rounding. Several threads
    may call it, each with a cache of its own.

    Args:
        model: with all experts, and matrices of one dtype that `reads_rows_fast`. They must not change from now on.
    """

    def __init__(self, model: ArcticParts) -> None:
        from arctic_model.inference.cpu import token_kernel

        self._kernel = token_kernel
        self._held: list[np.ndarray] = []
        self._dtype = model.lm_head.weight.dtype
        fields = [self._layer(layer) for layer in model.model.layers]
        layers = np.zeros(len(fields), token_kernel.LAYER)
        for record, values in zip(layers, fields, strict=True):
            for name, value in values.items():
                record[name] = value
        self._embedding = array(model.model.embed_tokens.weight)
        self._head = array(model.lm_head.weight), widened(model.model.norm.weight)
        self._rope = model.config.rope
        self._last = _LastToken(layers)

    @staticmethod
    def takes(ids: Tensor, caches: Sequence[LayerCache]) -> bool:
        """Whether a pass is over one id behind each of a few cached sequences."""
        return ids.shape[1] == 1 and len(ids) <= MOST_ROWS and all(type(each) in _CACHES for each in caches)

    def logits(
        self,
        ids: Int[Tensor, "B 1"],
        positions: Int[Tensor, "B 1"],
        mask: Float[Tensor, "B 1 1 S"],
        keep: Int[Tensor, " n"],
        caches: Sequence[LayerCache],
    ) -> Float[Tensor, "n V"]:
        """See `arctic_model.inference.language_model.LanguageModel`; `caches`: one per layer."""
        layers, ends, num_keys = self._with_addresses(caches), _ends(caches[0]), mask.shape[-1]
        assert len(ends) == len(ids) and max(ends) == num_keys <= layers["capacity"][0]
        for cache in caches:
            # The kernel writes the new keys and values.
            if type(cache) is LayerCache:
                cache.length += 1
        weight, norm = self._head
        logits = self._kernel.read_tokens(
            self._embedded(ids.numpy()[:, 0]),
            layers,
            # Without logits to keep, no weight of the head is read.
            (weight if keep.numel() else weight[:0], norm, keep.numpy()),
            np.array([self._rotation(position) for position in positions[:, 0].tolist()]),
            mask.numpy().reshape(len(ids), num_keys),
            ends,
            (self._kernel.new_counters(len(layers)), self._num_threads(len(ids))),
        )
        return torch.from_numpy(logits).view(keep.numel(), len(weight))

    def _num_threads(self, num_rows: int) -> int:
        row_kernels, width = kernels(), self._embedding.shape[1]
        # A step of a layer reads about as many weights as a square matrix has.
        if num_rows * width**2 < row_kernels.LONG:
            row_kernels.use_threads(1)
        return int(row_kernels.num_threads())

    def _embedded(self, ids: np.ndarray) -> np.ndarray:
        """A new array, float32 [N, D]."""
        rows: np.ndarray = self._embedding[ids]
        return rows if rows.dtype == np.float32 else (rows.astype(np.uint32) << 16).view(np.float32)

    def _rotation(self, position: int) -> np.ndarray:
        """float32 [2, C / 2]: cosine and sine of a position."""
        part, offset = divmod(position, POSITIONS)
        rotations = self._last.rotations
        if part not in rotations:
            positions = part * POSITIONS + torch.arange(POSITIONS)[None]
            rotations[part] = torch.cat(rotation(positions, self._rope), 2)[0].numpy()
        result: np.ndarray = rotations[part][offset]
        return result

    def _with_addresses(self, caches: Sequence[LayerCache]) -> np.ndarray:
        """The records of the layers, with the addresses of keys and values."""
        memory, last = [tensor for cache in caches for tensor in (cache.keys, cache.values)], self._last
        if last.memory and all(known() is tensor for known, tensor in zip(last.memory, memory, strict=True)):
            return last.layers
        assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in memory)
        [(_, _, capacity, _)] = {tensor.shape for tensor in memory}
        last.layers["capacity"] = capacity
        last.layers["cached_keys"] = [cache.keys.data_ptr() for cache in caches]
        last.layers["cached_values"] = [cache.values.data_ptr() for cache in caches]
        last.memory = [ref(tensor) for tensor in memory]
        return last.layers

    def _layer(self, layer: nn.Module) -> dict[str, float]:
        """The fields of a layer of any shape, see `arctic_model.layer`, without its cache."""
        assert isinstance(layer, Layer)
        attention = layer.self_attn
        fields: dict[str, float] = {
            "eps": layer.input_layernorm.eps,
            "width": attention.o_proj.weight.shape[0],
            "heads": attention.q_proj.weight.shape[0] // attention.head_dim,
            "groups": attention.k_proj.weight.shape[0] // attention.head_dim,
            "channels": attention.head_dim,
        }
        vectors: dict[str, Tensor | None] = {"attention_norm": layer.input_layernorm.weight, "sinks": attention.sinks}
        vectors |= self._head_vectors(attention)
        matrices = {
            "query": attention.q_proj.weight,
            "key": attention.k_proj.weight,
            "value": attention.v_proj.weight,
            "output": attention.o_proj.weight,
        }
        if not isinstance(layer, MoELayer):
            mlp = layer.residual_mlp
            fields["dense_width"] = len(mlp.w1.weight)
            vectors["dense_norm"] = _dense_norm(layer).weight
            matrices |= {"dense_gate": mlp.w1.weight, "dense_up": mlp.w3.weight, "dense_down": mlp.w2.weight}
        if not isinstance(layer, DenseLayer):
            moe = layer.block_sparse_moe
            router, experts = moe.gate, moe.experts
            fields |= {"experts": len(experts.w1), "expert_width": experts.w1.shape[1], "top_k": router.top_k}
            fields["experts_read_input"] = isinstance(layer, ArcticLayer)
            vectors |= {"experts_norm": layer.post_attention_layernorm.weight}
            vectors |= {"router_bias": router.e_score_correction_bias}
            matrices |= {"router": router.weight, "gate": experts.w1, "down": experts.w2, "up": experts.w3}
        held = {name: widened(vector) for name, vector in vectors.items() if vector is not None}
        assert all(reads_rows_fast(matrix) and matrix.dtype == self._dtype for matrix in matrices.values())
        held |= {name: array(matrix) for name, matrix in matrices.items()}
        # The kernel knows their addresses only.
        self._held += held.values()
        return fields | {name: values.ctypes.data for name, values in held.items()}

    @staticmethod
    def _head_vectors(attention: Attention) -> dict[str, Tensor | None]:
        vectors: dict[str, Tensor | None] = {
            "query_bias": attention.q_proj.bias,
            "key_bias": attention.k_proj.bias,
            "value_bias": attention.v_proj.bias,
        }
        norms = {"query_norm": attention.q_norm, "key_norm": attention.k_norm}
        return vectors | {name: norm.weight for name, norm in norms.items() if isinstance(norm, RMSNorm)}


def _ends(cache: LayerCache) -> np.ndarray:
    """Keys of each sequence, with the new one."""
    if isinstance(cache, RaggedCache):
        lengths: np.ndarray = cache.lengths.numpy()
        return lengths + 1
    return np.full(len(cache.keys), cache.length + 1)


def _dense_norm(layer: ArcticLayer | SharedExpertLayer | DenseLayer) -> RMSNorm:
    return layer.post_attention_layernorm if isinstance(layer, SharedExpertLayer) else layer.residual_layernorm
