"""Matrices in FP8 (e4m3) with one float32 scale per block of 128 x 128, as DeepSeek-V3's checkpoints have them (arXiv
2412.19437, section 3.3.2)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BLOCK = 128
LARGEST = torch.finfo(torch.float8_e4m3fn).max


def quantize_blocks(
    matrix: Float[Tensor, "rows columns"],
) -> tuple[Tensor, Float[Tensor, "row_blocks column_blocks"]]:
    """Divide each block by its largest absolute value over 448, the largest of e4m3, and round.

    Returns:
        The matrix in float8_e4m3fn, and the scales by which its blocks are multiplied again. On the meta device nothing
        is computed.
    """
    columns = matrix.shape[1]
    values = torch.empty_like(matrix, dtype=torch.float8_e4m3fn, memory_format=torch.contiguous_format)
    scales = matrix.new_empty(-(-len(matrix) // BLOCK), -(-columns // BLOCK), dtype=torch.float32)
    if matrix.is_meta:
        return values, scales
    # One row of blocks after the other: what is computed on the way fits into a cache.
    for rows, out, scale in zip(matrix.split(BLOCK), values.split(BLOCK), scales, strict=True):
        blocks = (F.pad(rows, (0, -columns % BLOCK)) if columns % BLOCK else rows).unflatten(1, (-1, BLOCK))
        # A block of zeros has no scale; any will do.
        largest = blocks.abs().amax(dim=2).amax(dim=0)
        scale.copy_((largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny))
        out.copy_((blocks / scale[:, None]).flatten(1)[:, :columns])
    return values, scales


def dequantize_blocks(
    values: Float[Tensor, "*E rows columns"],
    scales: Float[Tensor, "*E row_blocks column_blocks"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*E rows columns"]:
    """Each block times its scale, in `dtype`, one matrix after the other. A product is computed in float32 and rounded
    once."""
    result = torch.empty_like(values, dtype=dtype)
    pairs = values.view(-1, *values.shape[-2:]), scales.view(-1, *scales.shape[-2:])
    for matrix, blocks, out in zip(*pairs, result.view_as(pairs[0]), strict=True):
        rows, columns = matrix.shape
        spread = blocks.repeat_interleave(BLOCK, dim=0)[:rows].repeat_interleave(BLOCK, dim=1)[:, :columns]
        out.copy_(spread.mul_(matrix.float()))
    return result
