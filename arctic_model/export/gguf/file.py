"""One GGUF file, which llama.cpp loads: weights, architecture and a byte-level BPE vocabulary.

llama.cpp implements Arctic's layer as a separate graph (`src/models/arctic.cpp`). It differs from the released layout
in two ways: rotary positions turn neighbours instead of halves, so the rows of queries and keys are reordered, and the
experts of a layer are one stacked tensor.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, RopeScalingType
from gguf.quants import quant_shape_to_byte_shape
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.config import ArcticConfig
from arctic_model.export.gguf.q8_0 import q8_0
from arctic_model.export.gguf.vocabulary import add_vocabulary
from arctic_model.export.weights import NUM_CONVERTERS, converters, read_ahead
from arctic_model.rope import default_attention_factor

FILE = "model.gguf"
ARCHITECTURE = "arctic"
TYPES = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "float16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
"""By dtype: the type of matrices, and the file type in the header. Norms and the router's gate stay F32."""
PLAIN = {GGMLQuantizationType.F32: torch.float32, GGMLQuantizationType.F16: torch.float16}
"""Types of plain numbers."""
MODEL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "residual_layernorm.weight": "ffn_norm.weight",
    "residual_mlp.w1.weight": "ffn_gate.weight",
    "residual_mlp.w2.weight": "ffn_down.weight",
    "residual_mlp.w3.weight": "ffn_up.weight",
    "post_attention_layernorm.weight": "ffn_norm_exps.weight",
    "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
}
STACKS = {"w1": "ffn_gate_exps.weight", "w2": "ffn_down_exps.weight", "w3": "ffn_up_exps.weight"}
GATE = "ffn_gate_inp.weight"


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of the file, and the released names of those that it is made of: several are stacked."""

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]

    def type(self, dtype: str) -> GGMLQuantizationType:
        """How its numbers are stored in a file of `dtype`."""
        is_exact = len(self.shape) == 1 or self.name.endswith(GATE)
        return GGMLQuantizationType.F32 if is_exact else TYPES[dtype][0]

    def num_bytes(self, dtype: str) -> int:
        """Size in a file of `dtype`."""
        return math.prod(quant_shape_to_byte_shape(self.shape, self.type(dtype)))


def write_gguf(checkpoint: Checkpoint, tokenizer: Path, out: Path, dtype: str) -> None:
    """Write `model.gguf` into the folder `out`, tensor by tensor.

    Args:
        checkpoint: the model.
        tokenizer: folder with tokenizer.json and tokenizer_config.json, byte-level BPE.
        out: an existing folder.
        dtype: of the matrices: "float32", "float16" or "q8_0" (8 bits and a scale for each 32 numbers).

    Raises:
        ExportError: if llama.cpp cannot read texts as the tokenizer does.
    """
    config = checkpoint.config
    writer = GGUFWriter(out / FILE, ARCHITECTURE)
    _add_architecture(writer, config)
    writer.add_file_type(TYPES[dtype][1])
    add_vocabulary(writer, tokenizer, config.vocab_size)
    tensors = list(gguf_tensors(config))
    for tensor in tensors:
        _announce(writer, tensor, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with converters() as pool:
        parts = _parts(checkpoint, tensors, dtype, pool)
        for tensor in tensors:
            stack = _Stack(tensor.num_bytes(dtype), islice(parts, len(tensor.sources)))
            writer.write_tensor_data(stack)  # type: ignore[arg-type]
    writer.close()


def gguf_tensors(config: ArcticConfig) -> Iterator[GGUFTensor]:
    """The tensors of the file in their order, layer by layer."""
    shapes = tensor_shapes(config)
    yield _single(shapes, "model.embed_tokens.weight", MODEL_NAMES["model.embed_tokens.weight"])
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        for name, target in LAYER_NAMES.items():
            yield _single(shapes, prefix + name, f"blk.{layer}.{target}")
        for matrix, target in STACKS.items():
            sources = [f"{prefix}block_sparse_moe.experts.{each}.{matrix}.weight" for each in range(config.num_experts)]
            yield GGUFTensor(f"blk.{layer}.{target}", tuple(sources), (len(sources), *shapes[sources[0]]))
    for name in ("model.norm.weight", "lm_head.weight"):
        yield _single(shapes, name, MODEL_NAMES[name])


def interleaved(weight: Tensor, num_heads: int) -> Tensor:
    """The rows [heads x width, D] of queries or keys for rotary positions that turn neighbours: rows i and
    i + width / 2 of each head become neighbours."""
    heads: Tensor = weight.unflatten(0, (num_heads, 2, -1))
    return heads.transpose(1, 2).flatten(0, 2)


def _single(shapes: dict[str, tuple[int, ...]], source: str, target: str) -> GGUFTensor:
    return GGUFTensor(target, (source,), shapes[source])


def _add_architecture(writer: GGUFWriter, config: ArcticConfig) -> None:
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.expert_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    if config.yarn_factor > 1:
        _add_yarn(writer, config)
    writer.add_expert_count(config.num_experts)
    writer.add_expert_used_count(config.top_k)
    writer.add_vocab_size(config.vocab_size)


def _add_yarn(writer: GGUFWriter, config: ArcticConfig) -> None:
    """llama.cpp multiplies its own `0.1 ln(factor) + 1` by the attention factor of the file."""
    assert config.yarn_original_positions
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(config.yarn_factor)
    writer.add_rope_scaling_orig_ctx_len(config.yarn_original_positions)
    writer.add_rope_scaling_yarn_beta_fast(config.yarn_beta_fast)
    writer.add_rope_scaling_yarn_beta_slow(config.yarn_beta_slow)
    writer.add_rope_scaling_yarn_attn_factor(config.rope.scale / default_attention_factor(config.yarn_factor))


def _announce(writer: GGUFWriter, tensor: GGUFTensor, dtype: str) -> None:
    """Name, shape and size of a tensor, which the file holds before the first value."""
    kind = tensor.type(dtype)
    of_values = np.uint8 if kind not in PLAIN else np.float32 if kind is GGMLQuantizationType.F32 else np.float16
    shape = tensor.shape if kind in PLAIN else quant_shape_to_byte_shape(tensor.shape, kind)
    writer.add_tensor_info(tensor.name, shape, np.dtype(of_values), tensor.num_bytes(dtype), raw_dtype=kind)


def _parts(
    checkpoint: Checkpoint, tensors: Sequence[GGUFTensor], dtype: str, pool: ThreadPoolExecutor
) -> Iterator[np.ndarray]:
    """The sources of all tensors in their order, as the file has them. Some are converted ahead."""
    sources = [source for tensor in tensors for source in tensor.sources]
    kinds = [tensor.type(dtype) for tensor in tensors for _ in tensor.sources]
    ahead: deque[Future[np.ndarray]] = deque()
    for (name, weight), kind in zip(read_ahead(checkpoint, sources), kinds, strict=True):
        ahead.append(pool.submit(_converted, checkpoint.config, name, weight, kind))
        if len(ahead) > NUM_CONVERTERS:
            yield ahead.popleft().result()
    yield from (future.result() for future in ahead)


def _converted(config: ArcticConfig, name: str, weight: Tensor, kind: GGMLQuantizationType) -> np.ndarray:
    if name.endswith(("q_proj.weight", "k_proj.weight")):
        weight = interleaved(weight, config.num_heads if "q_proj" in name else config.num_kv_heads)
    stored = weight.to(PLAIN.get(kind, torch.float32)).contiguous().numpy()
    return stored if kind in PLAIN else q8_0(stored)


@dataclass(frozen=True)
class _Stack:
    """A tensor of several parts, which GGUFWriter writes like an array: none is in memory before its turn."""

    nbytes: int
    parts: Iterable[np.ndarray]

    def tofile(self, file: BinaryIO) -> None:
        """Write the parts one after the other."""
        for part in self.parts:
            part.tofile(file)
