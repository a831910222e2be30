"""A Hugging Face directory with matrices in FP8: e4m3 with one float32 scale per block of 128 x 128, as DeepSeek-V3's
checkpoints (arXiv 2412.19437, section 3.3.2)."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.export.huggingface import write_directory
from arctic_model.export.weights import BIAS

BLOCK = 128
LARGEST = torch.finfo(torch.float8_e4m3fn).max
EXACT = ("embed_tokens", "lm_head", "block_sparse_moe.gate")
"""Modules whose matrices stay in bfloat16: few bytes, and a wrong choice of experts costs most."""
SCALE = "_scale_inv"
"""Behind the name of a matrix: what to multiply its blocks by."""
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
    layers = range(checkpoint.config.num_layers)
    gates = [f"model.layers.{layer}.block_sparse_moe.gate" for layer in layers]
    quantization = QUANTIZATION | {"modules_to_not_convert": ["model.embed_tokens", "lm_head", *gates]}
    more = {"dtype": "bfloat16", "quantization_config": quantization}
    write_directory(checkpoint, tokenizer, out, to_fp8, more)


def to_fp8(name: str, tensor: Tensor) -> Mapping[str, Tensor]:
    """What stands for a tensor of the model: a matrix with its scales, or the tensor in bfloat16."""
    if name.endswith(BIAS):
        return {name: tensor}
    if tensor.dim() == 1 or any(module in name for module in EXACT):
        return {name: tensor.to(torch.bfloat16)}
    values, scales = quantize_blocks(tensor.float())
    return {name: values, f"{name}{SCALE}": scales}


def quantize_blocks(
    matrix: Float[Tensor, "rows columns"],
) -> tuple[Tensor, Float[Tensor, "row_blocks column_blocks"]]:
    """Divide each block by its largest absolute value over 448, the largest of e4m3, and round.

    Returns:
        The matrix in float8_e4m3fn, and the scales by which its blocks are multiplied again.
    """
    rows, columns = matrix.shape
    padded = F.pad(matrix, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
    # A block of zeros has no scale; any will do.
    scales = (blocks.abs().amax(dim=(1, 3)) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = (blocks / scales[:, None, :, None]).flatten(2, 3).flatten(0, 1)
    return scaled[:rows, :columns].to(torch.float8_e4m3fn).contiguous(), scales
