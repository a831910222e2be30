"""One GGUF file, which llama.cpp loads: weights, architecture and a byte-level BPE vocabulary.

llama.cpp implements Arctic's layer as a separate graph (`src/models/arctic.cpp`). It differs from the released layout
in two ways: rotary positions turn neighbours instead of halves, so the rows of queries and keys are reordered, and the
experts of a layer are one stacked tensor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, RopeScalingType
from gguf.quants import quant_shape_to_byte_shape, quantize
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.shapes import tensor_shapes
from arctic_model.config import ArcticConfig
from arctic_model.export.gguf.vocabulary import add_vocabulary
from arctic_model.rope import default_attention_factor

FILE = "model.gguf"
ARCHITECTURE = "arctic"
TYPES = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "float16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
"""By dtype: the type of matrices, and the file type in the header. Norms and the router's gate stay F32."""
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
        _announce(writer, tensor, tensor.type(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_values(checkpoint, tensor, tensor.type(dtype)))
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


def _announce(writer: GGUFWriter, tensor: GGUFTensor, kind: GGMLQuantizationType) -> None:
    """Name, shape and size of a tensor, which the file holds before the first value."""
    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
    dtype = np.dtype(plain.get(kind, np.uint8))
    shape = tensor.shape if kind in plain else quant_shape_to_byte_shape(tensor.shape, kind)
    writer.add_tensor_info(tensor.name, shape, dtype, int(np.prod(shape)) * dtype.itemsize, raw_dtype=kind)


def _values(checkpoint: Checkpoint, tensor: GGUFTensor, kind: GGMLQuantizationType) -> np.ndarray:
    parts = [checkpoint.read(name).float() for name in tensor.sources]
    values = torch.stack(parts) if len(parts) > 1 or len(tensor.shape) > parts[0].dim() else parts[0]
    config = checkpoint.config
    if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
        values = interleaved(values, config.num_heads if "attn_q" in tensor.name else config.num_kv_heads)
    if kind is GGMLQuantizationType.F16:
        return values.half().numpy()
    if kind is GGMLQuantizationType.F32:
        return values.contiguous().numpy()
    quantized: np.ndarray = quantize(values.numpy(), kind)
    return quantized
