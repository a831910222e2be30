"""A Hugging Face directory with matrices in FP8 (see `arctic_model.kernels.fp8_blocks`)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.checkpoint.tensors.shapes import ROUTER_BIAS
from arctic_model.export.huggingface import write_directory
from arctic_model.kernels.fp8_blocks import BLOCK, quantize_blocks

EXACT = ("embed_tokens", "lm_head", "block_sparse_moe.gate")
"""Modules whose matrices stay in bfloat16: few bytes, and a wrong choice of experts costs most."""
SCALE = "_scale_inv"
"""Suffix of the name of a matrix: the factors of its blocks."""
QUANTIZATION = {
    "quant_method": "fp8",
    "fmt": "e4m3",
    "weight_block_size": [BLOCK, BLOCK],
    "activation_scheme": "dynamic",
}


def write_fp8(checkpoint: Checkpoint, tokenizer: Path, out: Path) -> None:
    """Write the directory into the folder `out`, layer by layer.

    Args:
        checkpoint: the model.
        tokenizer: folder with tokenizer.json and tokenizer_config.json.
        out: an existing, empty folder.
    """
    gates = [f"model.layers.{layer}.block_sparse_moe.gate" for layer in checkpoint.config.moe_layers]
    quantization = QUANTIZATION | {"modules_to_not_convert": ["model.embed_tokens", "lm_head", *gates]}
    more = {"dtype": "bfloat16", "quantization_config": quantization}
    write_directory(checkpoint, tokenizer, out, to_fp8, more)


def to_fp8(name: str, tensor: Tensor) -> Mapping[str, Tensor]:
    """The FP8 form of a tensor of the model: a matrix with its scales, or the tensor in bfloat16."""
    if name.endswith(ROUTER_BIAS):
        return {name: tensor}
    if tensor.dim() == 1 or any(module in name for module in EXACT):
        return {name: tensor.to(torch.bfloat16)}
    values, scales = quantize_blocks(tensor.float())
    return {name: values, f"{name}{SCALE}": scales}
