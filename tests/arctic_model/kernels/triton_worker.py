"""Every operator of arctic_model.kernels.operators by its Triton kernel, interpreted on the CPU, and by torch."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map
from triton.runtime import interpreter

from arctic_model.kernels import on_gpu, operators

BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
"""Largest error, as a share of the largest value: a rounding or two."""


def compare(name: str, *inputs: Any) -> None:
    """The expected values come from the same inputs in float32."""
    wide = tree_map(
        lambda each: each.float() if isinstance(each, Tensor) and each.is_floating_point() else each, inputs
    )
    dtype = next(each.dtype for each in tree_iter(inputs) if isinstance(each, Tensor))
    equal(name, dtype, getattr(on_gpu, name)(*inputs), getattr(operators, name)(*wide))


def equal(name: str, dtype: torch.dtype, result: Any, expected: Any) -> None:
    for ours, theirs in zip(tree_iter(result), tree_iter(expected), strict=True):
        assert ours.shape == theirs.shape, name
        if theirs.numel():
            error = (ours.double() - theirs.double()).abs().max()
            assert error <= BOUNDS.get(dtype, 0.0) * theirs.double().abs().max(), (name, error)


def norms(dtype: torch.dtype, rows: int) -> None:
    """More rows than one program of backward reads, as the last case has."""
    rows = 2 * on_gpu.NORM_ROWS + 3 if rows > 1 else rows
    x, addend, residual = (torch.randn(rows, 24).to(dtype) for _ in range(3))
    weights = [torch.rand(24).to(dtype) for _ in range(2)]
    compare("rms_norms", x, weights, 1e-5)
    compare("rms_norms", x, weights[:1], 1e-5)
    total, normed, scale = on_gpu.add_rms_norm(x, addend, weights[0], 1e-5)
    equal("add_rms_norm", dtype, total, x + addend)
    # The norm reads the sum as it is stored.
    equal("add_rms_norm", torch.float32, scale, operators.rms_norm(total, weights[0], 1e-5)[1])
    equal("add_rms_norm", dtype, normed, operators.rms_norm(total, weights[0], 1e-5)[0])
    for number in (1, 2):
        gradients = [torch.randn(rows, 24).to(dtype) for _ in range(number)]
        _, scale = operators.rms_norms(x, weights, 1e-5)
        compare("rms_norms_backward", residual, gradients, x, weights[:number], scale)


def swiglu(dtype: torch.dtype, rows: int) -> None:
    """Gate and up side by side, as one product leaves them."""
    gate, up = torch.randn(rows, 2 * 40).to(dtype).chunk(2, dim=1)
    compare("swiglu", gate, up)
    gradient = torch.randn(rows, 40).to(dtype)
    for has_inner in (True, False):
        written = []
        for module in (on_gpu, operators):
            outs = [*torch.empty(rows, 2 * 40, dtype=dtype).chunk(2, dim=1), torch.zeros(rows, 40, dtype=dtype)]
            module.swiglu_backward(gradient, gate, up, *outs[:2], outs[2] if has_inner else None)
            written.append(outs)
        equal("swiglu_backward", dtype, *written)


def rotate(dtype: torch.dtype, rows: int) -> None:
    angles = torch.rand(2, rows, 1, 3)
    heads = [torch.randn(2, rows, number, 6).to(dtype) for number in (5, 2, 2)]
    for parts, num_rotated, direction in ((heads, 7, -1), (heads[:2], 7, 1), (heads[:1], 3, 1)):
        compare("rotate", parts, angles.cos(), angles.sin(), direction, num_rotated)
    # One position for all sequences, and heads that are a part of a wider tensor.
    wide = torch.randn(2, rows, 9, 6).to(dtype)[:, :, 2:6]
    compare("rotate", [wide], angles[:1].cos(), angles[:1].sin(), 1, 4)


def rows_of_tokens(dtype: torch.dtype, num_tokens: int) -> None:
    """Two assignments a token, one of them dropped, and a layout with rows that pad it."""
    order = torch.randperm(2 * num_tokens)
    remaining = max(0, 2 * num_tokens - 1)
    compare("rows_of_assignments", order, 2, remaining)
    tokens, inverse = operators.rows_of_assignments(order, 2, remaining)
    rows, weights = torch.randn(remaining, 33).to(dtype), torch.rand(num_tokens, 2)
    index = inverse.view(-1, 2)
    bases = [torch.randn(num_tokens, 33).to(dtype) for _ in range(2)]
    for number, shares in product(range(3), (weights, None)):
        compare("weighted_sum", rows, index, shares, bases[:number], True)
    compare("weighted_sum_backward", torch.randn(num_tokens, 33).to(dtype), rows, weights, tokens, index, True)


def groups(dtype: torch.dtype, rows: int) -> None:
    """Groups without rows, of one, and longer than a tile, by matrices of several tiles; both orders of storage."""
    lengths = (0, rows, 0, 150 if rows > 1 else 0, 1, 0)
    ends = torch.tensor(lengths).cumsum(0).int()
    num_rows, inner, width = int(ends[-1]), 40, 136
    left = torch.randn(num_rows, inner).to(dtype)
    matrices = torch.randn(len(lengths), inner, width).to(dtype)
    compare("grouped_product", left, matrices, ends)
    compare("grouped_product", left, matrices.mT.contiguous().mT, ends)
    right = torch.randn(num_rows, width).to(dtype)
    compare("grouped_product", left.T, right, ends)
    compare("grouped_product", right.T, left, ends)


def quantized(dtype: torch.dtype, rows: int) -> None:
    """Both round to the nearest number; rows longer than a block too."""
    for width in (48, on_gpu.VOCABULARY_BLOCK + 16):
        matrix = torch.randn(2, rows, width) * 10.0 ** torch.randint(-30, 30, (2, rows, 1))
        matrix[0, :1] = 0
        (values, scales), (expected, expected_scales) = (
            module.quantized_rows(matrix.to(dtype)) for module in (on_gpu, operators)
        )
        assert torch.equal(scales, expected_scales), "scales of quantized_rows"
        # Triton's interpreter rounds in another way up to a power of two, below the normal numbers, and ties, which
        # bfloat16 has.
        exact = (torch.frexp(expected.float()).mantissa.abs() != 0.5) & (expected.float().abs() >= 2**-6)
        exact &= dtype is torch.float32
        assert torch.equal(values.float()[exact], expected.float()[exact]), "quantized_rows"
        for bad in (torch.inf, torch.nan) if rows else ():
            matrix[1, 0, 3] = bad
            assert not on_gpu.quantized_rows(matrix.to(dtype))[1][1, 0].isfinite()


def loss(dtype: torch.dtype, rows: int) -> None:
    """In place, as a GPU computes it."""
    logits = (5 * torch.randn(rows, 70)).to(dtype)
    columns = torch.randint(0, 70, (rows, 1))
    residual = torch.empty_like(logits)
    expected = operators.softmax_residual(logits, columns, residual)
    equal("softmax_residual", dtype, (on_gpu.softmax_residual(logits, columns, logits), logits), (expected, residual))


CASES: list[Callable[[torch.dtype, int], None]] = [norms, swiglu, rotate, rows_of_tokens, groups, quantized, loss]


def multiply_bfloat16() -> None:
    """Mend Triton's interpreter, which multiplies the bits of bfloat16 as integers."""
    dot = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, a: Any, b: Any, *others: Any) -> Any:
        return dot(builder, *(builder.create_fp_ext(each, tl.float32) for each in (a, b)), *others)

    interpreter.InterpreterBuilder.create_dot = create_dot


if __name__ == "__main__":
    multiply_bfloat16()
    torch.manual_seed(0)
    for case, dtype, rows in product(CASES, BOUNDS, (0, 1, 6)):
        case(dtype, rows)
