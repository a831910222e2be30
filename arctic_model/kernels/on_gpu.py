"""The operators of `arctic_model.kernels.operators` on CUDA, under the same names: one launch each."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from arctic_model.kernels import triton_grouped as grouped_kernels
from arctic_model.kernels import triton_kernels as kernels

ROW_BLOCK = 1024
"""Elements of a row that one program reads, unless it needs the whole row."""
NORM_ROWS = 64
"""Rows of one program of a norm's backward: 16,384 tokens make two programs for each multiprocessor of an H100."""
VOCABULARY_BLOCK = 4096
GROUPED_MM_MAJORS = {9, 10}
"""Major compute capabilities on which torch has a kernel for `grouped_mm`, in bfloat16. On others it multiplies group
by group, and the host waits for the GPU to read their ends (pytorch/pytorch issue 186620)."""


class Tile(NamedTuple):
    """What one program multiplies: rows by columns, `inner` elements of both at a time."""

    rows: int
    columns: int
    inner: int
    num_warps: int
    num_stages: int

    @property
    def options(self) -> dict[str, int]:
        """Of Triton's compiler."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


GROUPED_TILES = {torch.bfloat16: Tile(128, 128, 32, 8, 3), torch.float32: Tile(64, 64, 32, 4, 2)}
"""They fit in the shared memory of Ada, the smallest (99 KiB)."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Torch has separate kernels for the norm."""
    return torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight.to(x.dtype), eps)  # type: ignore[no-any-return]


def rms_norm_backward(gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """As `rms_norm`."""
    x_gradient, weight_gradient = torch.ops.aten._fused_rms_norm_backward(
        gradient.contiguous(), x, [x.shape[-1]], scale, weight.to(x.dtype), [True, True]
    )
    return x_gradient, weight_gradient.to(weight.dtype)


def rms_norms(x: Tensor, weights: list[Tensor], eps: float) -> tuple[list[Tensor], Tensor]:
    """See `operators.rms_norms`."""
    _, normed, scale = _norms(x, None, weights, eps)
    return normed, scale


def add_rms_norm(x: Tensor, addend: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """See `operators.add_rms_norm`."""
    total, [normed], scale = _norms(x, addend, [weight], eps)
    return total, normed, scale


def _norms(x: Tensor, addend: Tensor | None, weights: list[Tensor], eps: float) -> tuple[Tensor, list[Tensor], Tensor]:
    x, width = x.contiguous(), x.shape[-1]
    total = x if addend is None else torch.empty_like(x)
    normed = [torch.empty_like(x) for _ in weights]
    scale = torch.empty(*x.shape[:-1], 1, dtype=torch.float32, device=x.device)
    _launch(
        kernels.rms_norms,
        (scale.numel(),),
        x,
        None if addend is None else addend.contiguous(),
        *_pair(weights),
        total,
        *_pair(normed),
        scale,
        width,
        eps,
        NUM_NORMS=len(weights),
        HAS_ADDEND=addend is not None,
        BLOCK=triton.next_power_of_2(width),
    )
    return total, normed, scale


def rms_norms_backward(
    residual: Tensor, gradients: list[Tensor], x: Tensor, weights: list[Tensor], scale: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """See `operators.rms_norms_backward`."""
    x, width = x.contiguous(), x.shape[-1]
    x_gradient = torch.empty_like(x)
    num_programs = triton.cdiv(scale.numel(), NORM_ROWS)
    parts = torch.empty(num_programs, len(weights), width, dtype=torch.float32, device=x.device)
    _launch(
        kernels.rms_norms_backward,
        (num_programs,),
        residual.contiguous(),
        *_pair([gradient.contiguous() for gradient in gradients]),
        x,
        *_pair(weights),
        scale,
        x_gradient,
        parts,
        scale.numel(),
        width,
        NUM_NORMS=len(weights),
        ROWS=NORM_ROWS,
        BLOCK=triton.next_power_of_2(width),
    )
    return x_gradient, [each.to(weight.dtype) for each, weight in zip(parts.sum(0), weights, strict=True)]


def grouped_product(left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
    """See `operators.grouped_product`. Factors may have any strides."""
    if left.dtype is torch.bfloat16 and _major(left) in GROUPED_MM_MAJORS:
        return F.grouped_mm(left, right, offs=ends)
    product = _rows_times_matrices if right.dim() == 3 else _products_of_groups
    return product(left, right, ends, GROUPED_TILES[left.dtype])


def _major(tensor: Tensor) -> int:
    """Of the compute capability; 0 on a CPU, for Triton's interpreter."""
    return torch.cuda.get_device_capability(tensor.device)[0] if tensor.is_cuda else 0


def _rows_times_matrices(rows: Tensor, matrices: Tensor, ends: Tensor, tile: Tile) -> Tensor:
    num_groups, inner, width = matrices.shape
    out = rows.new_empty(len(rows), width)
    _launch(
        grouped_kernels.rows_times_matrices,
        # As many tiles as the groups may have: the host does not know their ends.
        (triton.cdiv(len(rows), tile.rows) + num_groups, triton.cdiv(width, tile.columns)),
        rows,
        matrices,
        ends,
        out,
        num_groups,
        inner,
        width,
        *rows.stride(),
        *matrices.stride(),
        GROUPS=triton.next_power_of_2(num_groups),
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        INNER=tile.inner,
        **tile.options,
    )
    return out


def _products_of_groups(left: Tensor, right: Tensor, ends: Tensor, tile: Tile) -> Tensor:
    (height, _), width = left.shape, right.shape[1]
    out = left.new_empty(len(ends), height, width)
    _launch(
        grouped_kernels.products_of_groups,
        (triton.cdiv(height, tile.rows), triton.cdiv(width, tile.columns), len(ends)),
        left,
        right,
        ends,
        out,
        height,
        width,
        *left.stride(),
        *right.stride(),
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        INNER=tile.inner,
        **tile.options,
    )
    return out


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """See `operators.swiglu`. Rows may have any distance from each other."""
    out = gate.new_empty(gate.shape)
    width = gate.shape[1]
    grid = (len(gate), triton.cdiv(width, ROW_BLOCK))
    _launch(kernels.swiglu, grid, gate, up, out, width, gate.stride(0), up.stride(0), BLOCK=ROW_BLOCK)
    return out


def swiglu_backward(
    gradient: Tensor, gate: Tensor, up: Tensor, gate_gradient: Tensor, up_gradient: Tensor, inner: Tensor | None
) -> None:
    """See `operators.swiglu_backward`. Rows may have any distance from each other."""
    width = gate.shape[1]
    _launch(
        kernels.swiglu_backward,
        (len(gate), triton.cdiv(width, ROW_BLOCK)),
        gradient,
        gate,
        up,
        gate_gradient,
        up_gradient,
        inner,
        width,
        *(tensor.stride(0) for tensor in (gradient, gate, up, gate_gradient, up_gradient)),
        HAS_INNER=inner is not None,
        BLOCK=ROW_BLOCK,
    )


def quantized_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """See `operators.quantized_rows`."""
    matrix = matrix.contiguous()
    values = torch.empty_like(matrix, dtype=torch.float8_e4m3fn)
    scales = torch.empty(*matrix.shape[:-1], 1, dtype=torch.float32, device=matrix.device)
    width = matrix.shape[-1]
    block = min(VOCABULARY_BLOCK, triton.next_power_of_2(width))
    _launch(kernels.quantized_rows, (scales.numel(),), matrix, values, scales, width, BLOCK=block)
    return values, scales


def rotate(parts: list[Tensor], cos: Tensor, sin: Tensor, direction: int, num_rotated: int) -> Tensor:
    """See `operators.rotate`. The elements of a head must lie side by side."""
    batch, length, _, width = parts[0].shape
    num_heads = sum(part.shape[2] for part in parts)
    out = parts[0].new_empty(batch, length, num_heads, width)
    cos, sin = (angles.expand(batch, length, 1, width // 2).contiguous() for angles in (cos, sin))
    flat = [part.flatten(0, 1) for part in parts]
    # Missing parts have no head: nothing is read from them.
    flat += [flat[0]] * (3 - len(flat))
    ends = [parts[0].shape[2], sum(part.shape[2] for part in parts[:2])]
    _launch(
        kernels.rotate,
        (batch * length,),
        *flat,
        cos,
        sin,
        out,
        direction,
        num_heads,
        num_rotated,
        width // 2,
        *ends,
        *(part.stride(0) for part in flat),
        *(part.stride(1) for part in flat),
        HEADS=triton.next_power_of_2(num_heads),
        HALF=triton.next_power_of_2(width // 2),
    )
    return out


def rows_of_assignments(order: Tensor, top_k: int, num_rows: int) -> tuple[Tensor, Tensor]:
    """See `operators.rows_of_assignments`."""
    tokens, inverse = order.new_empty(num_rows), torch.empty_like(order)
    grid = (triton.cdiv(len(order), ROW_BLOCK),)
    _launch(
        kernels.rows_of_assignments,
        grid,
        order,
        tokens,
        inverse,
        len(order),
        num_rows,
        TOP_K=top_k,
        BLOCK=ROW_BLOCK,
    )
    return tokens, inverse


def weighted_sum(rows: Tensor, index: Tensor, weights: Tensor | None, bases: list[Tensor], _: bool) -> Tensor:
    """See `operators.weighted_sum`; with or without `gaps` an index of M adds nothing."""
    num_tokens, top_k = index.shape
    width = rows.shape[1]
    out = rows.new_empty(num_tokens, width)
    base0, base1 = (*(base.contiguous() for base in bases), None, None)[:2]
    _launch(
        kernels.weighted_sum,
        (num_tokens, triton.cdiv(width, ROW_BLOCK)),
        rows.contiguous(),
        index.contiguous(),
        None if weights is None else weights.contiguous(),
        base0,
        base1,
        out,
        len(rows),
        width,
        TOP_K=top_k,
        HAS_WEIGHTS=weights is not None,
        NUM_BASES=len(bases),
        BLOCK=ROW_BLOCK,
    )
    return out


def weighted_sum_backward(
    gradient: Tensor, rows: Tensor, weights: Tensor, _: Tensor, index: Tensor, gaps: bool
) -> tuple[Tensor, Tensor]:
    """See `operators.weighted_sum_backward`."""
    num_tokens, top_k = index.shape
    # Only rows that an index names are written.
    whole = not gaps and len(rows) == index.numel()
    rows_gradient = torch.empty_like(rows) if whole else torch.zeros_like(rows)
    weights_gradient = torch.empty_like(weights)
    _launch(
        kernels.weighted_sum_backward,
        (num_tokens,),
        gradient.contiguous(),
        rows.contiguous(),
        weights.contiguous(),
        index.contiguous(),
        rows_gradient,
        weights_gradient,
        len(rows),
        rows.shape[1],
        TOP_K=top_k,
        BLOCK=triton.next_power_of_2(rows.shape[1]),
    )
    return rows_gradient, weights_gradient


def softmax_residual(logits: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """See `operators.softmax_residual`."""
    nll = torch.empty(len(logits), 1, dtype=torch.float32, device=logits.device)
    _launch(
        kernels.softmax_residual,
        (len(logits),),
        logits,
        columns,
        nll,
        out,
        logits.shape[1],
        logits.stride(0),
        out.stride(0),
        BLOCK=VOCABULARY_BLOCK,
    )
    return nll


def _pair(tensors: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    first, second = (*tensors, None, None)[:2]
    return first, second


def _launch(kernel: Any, grid: tuple[int, ...], *values: Any, **constants: Any) -> None:
    """CUDA refuses an empty grid."""
    if all(grid):
        kernel[grid](*values, **constants)
