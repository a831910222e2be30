"""Operators that a GPU runs as one kernel each (`arctic_model.kernels.on_gpu`), and other devices by torch's own.

Each is an operator of torch, `torch.ops.arctic.*`: torch chooses the implementation by device, and a trace of a pass
sees one operation. The functions here are the implementations for all devices but CUDA, and for float64. None records
gradients: they are called inside of autograd functions.
"""

import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, library

from arctic_model.kernels.precision import widened

LIBRARY = library.Library("arctic", "DEF")
IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
"""The functions of this module by name, for all devices: a benchmark holds the kernels of a GPU against them."""
Function = TypeVar("Function", bound=Callable[..., Any])


def _operator(arguments: str) -> Callable[[Function], Function]:
    """Register the function as an operator of its name, with `arguments` and results as torch's schemas write them."""

    def register(function: Function) -> Function:
        name = function.__name__

        def on_gpu(*values: Any) -> Any:
            if any(isinstance(value, Tensor) and value.dtype is torch.float64 for value in values):
                return function(*values)
            # Imports Triton, which exists only with CUDA builds of torch.
            return getattr(importlib.import_module("arctic_model.kernels.on_gpu"), name)(*values)

        IMPLEMENTATIONS[name] = function
        LIBRARY.define(name + arguments)
        LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        LIBRARY.impl(name, on_gpu, "CUDA")
        return cast(Function, getattr(torch.ops.arctic, name).default)

    return register


@_operator("(Tensor x, Tensor weight, float eps) -> (Tensor, Tensor)")
def rms_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch 1"]]:
    """`x * scale * weight` in the dtype of `x`, and `scale = 1 / sqrt(mean(x^2) + eps)` in float32."""
    wide = widened(x)
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * scale * weight).to(x.dtype), scale


@_operator("(Tensor gradient, Tensor x, Tensor weight, Tensor scale) -> (Tensor, Tensor)")
def rms_norm_backward(
    gradient: Float[Tensor, "*batch D"],
    x: Float[Tensor, "*batch D"],
    weight: Float[Tensor, " D"],
    scale: Float[Tensor, "*batch 1"],
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, " D"]]:
    """The gradients of `x` and `weight`. Torch's own passes over memory twice as often on a CPU."""
    normed = widened(x) * scale
    gradient = widened(gradient)
    product = gradient * normed
    weight_gradient = product.flatten(0, -2).sum(0)
    along = (product @ widened(weight)).div_(x.shape[-1]).unsqueeze(-1)
    x_gradient = torch.addcmul(gradient * weight, normed, along, value=-1).mul_(scale)
    return x_gradient.to(x.dtype), weight_gradient.to(weight.dtype)


@_operator("(Tensor x, Tensor[] weights, float eps) -> (Tensor[], Tensor)")
def rms_norms(
    x: Float[Tensor, "*batch D"], weights: list[Tensor], eps: float
) -> tuple[list[Tensor], Float[Tensor, "*batch 1"]]:
    """`rms_norm` with each of one or two `weights` [D]; they share the scale."""
    wide = widened(x)
    _, scale = rms_norm(x, weights[0], eps)
    return [(wide * scale * weight).to(x.dtype) for weight in weights], scale


@_operator("(Tensor x, Tensor addend, Tensor weight, float eps) -> (Tensor, Tensor, Tensor)")
def add_rms_norm(
    x: Float[Tensor, "*batch D"], addend: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"], Float[Tensor, "*batch 1"]]:
    """`x + addend`, and its `rms_norm`."""
    total = x + addend
    return total, *rms_norm(total, weight, eps)


@_operator("(Tensor residual, Tensor[] gradients, Tensor x, Tensor[] weights, Tensor scale) -> (Tensor, Tensor[])")
def rms_norms_backward(
    residual: Float[Tensor, "*batch D"],
    gradients: list[Tensor],
    x: Float[Tensor, "*batch D"],
    weights: list[Tensor],
    scale: Float[Tensor, "*batch 1"],
) -> tuple[Float[Tensor, "*batch D"], list[Tensor]]:
    """The gradient of `x`, which is read by its norms and beside them, and those of the `weights`.

    Args:
        residual: gradient of `x` by what reads it beside the norms.
        gradients: of each norm, in the shape of `x`.
        x: as in forward, like `weights`.
        scale: of `rms_norms`.
    """
    weight_gradients: list[Tensor] = []
    # In the order in which autograd meets the readers of `x`: the last one first.
    for gradient, weight in zip(reversed(gradients), reversed(weights), strict=True):
        x_gradient, weight_gradient = rms_norm_backward(gradient, x, weight, scale)
        residual = residual + x_gradient
        weight_gradients.insert(0, weight_gradient)
    return residual, weight_gradients


@_operator("(Tensor left, Tensor right, Tensor ends) -> Tensor")
def grouped_product(left: Float[Tensor, "M A"], right: Float[Tensor, "*E A B"], ends: Int[Tensor, " E"]) -> Tensor:
    """Rows [M, A] times the matrix [E, A, B] of their group, as [M, B]; or [A, M] times [M, B] within each group, as
    [E, A, B]. Group e ends before row `ends[e]` (int32), and the last one ends with the rows."""
    return F.grouped_mm(left, right, offs=ends)


@_operator("(Tensor gate, Tensor up) -> Tensor")
def swiglu(gate: Float[Tensor, "M F"], up: Float[Tensor, "M F"]) -> Float[Tensor, "M F"]:
    """`silu(gate) * up`."""
    return F.silu(gate).mul_(up)


@_operator(
    "(Tensor gradient, Tensor gate, Tensor up, Tensor(a!) gate_gradient, Tensor(b!) up_gradient, Tensor(c!)? inner)"
    " -> ()"
)
def swiglu_backward(
    gradient: Float[Tensor, "M F"],
    gate: Float[Tensor, "M F"],
    up: Float[Tensor, "M F"],
    gate_gradient: Float[Tensor, "M F"],
    up_gradient: Float[Tensor, "M F"],
    inner: Float[Tensor, "M F"] | None,
) -> None:
    """Write the gradients of `gate` and `up`, and `swiglu(gate, up)` again to `inner` unless it is None.

    `gate_gradient` may be `gradient`.
    """
    activated = torch.ops.aten.silu.out(gate, out=up_gradient)
    if inner is not None:
        torch.mul(activated, up, out=inner)
    activated.mul_(gradient)
    torch.mul(gradient, up, out=gate_gradient)
    torch.ops.aten.silu_backward.grad_input(gate_gradient, gate, grad_input=gate_gradient)


@_operator("(Tensor matrix) -> (Tensor, Tensor)")
def quantized_rows(matrix: Float[Tensor, "*E M K"]) -> tuple[Tensor, Float[Tensor, "*E M 1"]]:
    """The matrix in FP8 (e4m3), each row divided by a scale in float32.

    A scale is the least power of two that brings the row within 448, the largest number of e4m3: dividing by it rounds
    nothing. A row with a number that is not finite has a scale that is not finite either.
    """
    wide = matrix.float()
    # A positive float32 in bits: exponent, then mantissa. The sum carries into the exponent if the mantissa is above
    # that of 448 = 1.75 * 2**8.
    largest = wide.abs().amax(dim=-1, keepdim=True)
    exponent = ((largest.view(torch.int32) + 0x1FFFFF) >> 23) - 8
    scales = torch.where(largest.isfinite(), (exponent.clamp(1, 254) << 23).view(torch.float32), largest)
    return (wide / scales).to(torch.float8_e4m3fn), scales


@_operator("(Tensor[] parts, Tensor cos, Tensor sin, int direction, int num_rotated) -> Tensor")
def rotate(
    parts: list[Tensor],
    cos: Float[Tensor, "B T 1 R"],
    sin: Float[Tensor, "B T 1 R"],
    direction: int,
    num_rotated: int,
) -> Float[Tensor, "B T H C"]:
    """The heads of all `parts` [B, T, *, C], one to three, side by side. Of the first `num_rotated` heads each pair
    (i, i + C / 2) is rotated by the angle i of its position, or back if `direction` is -1."""
    together = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    heads = together[:, :, :num_rotated]
    wide = widened(heads)
    first, second = wide.chunk(2, dim=-1)
    turned = torch.empty(wide.shape, dtype=wide.dtype, device=wide.device)
    out_first, out_second = turned.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin, value=direction)
    turned = turned.to(heads.dtype)
    return turned if num_rotated == together.shape[2] else torch.cat([turned, together[:, :, num_rotated:]], dim=2)


@_operator("(Tensor order, int top_k, int num_rows) -> (Tensor, Tensor)")
def rows_of_assignments(
    order: Int[Tensor, " P"], top_k: int, num_rows: int
) -> tuple[Int[Tensor, " A"], Int[Tensor, " P"]]:
    """The token of each of the first `num_rows` rows, and the row of each assignment, `num_rows` if it has none.

    Args:
        order: the assignment at each row; assignments are numbered token * K + slot.
        top_k: K.
        num_rows: A.
    """
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return order[:num_rows] // top_k, inverse.clamp_(max=num_rows)


@_operator("(Tensor rows, Tensor index, Tensor? weights, Tensor[] bases, bool gaps) -> Tensor")
def weighted_sum(
    rows: Float[Tensor, "M D"],
    index: Int[Tensor, "N K"],
    weights: Float[Tensor, "N K"] | None,
    bases: list[Tensor],
    gaps: bool,
) -> Float[Tensor, "N D"]:
    """The sum over k of `weights[n, k] * rows[index[n, k]]`, accumulated in float32 for narrower dtypes, plus `bases`.

    Args:
        rows: of any floating dtype.
        index: rows to add up.
        weights: None for ones.
        bases: [N, D] each, up to two.
        gaps: whether an index may be M, which adds nothing.
    """
    # One pass over memory instead of three: gather, multiply, add.
    weights = None if weights is None else weights.to(rows.dtype)
    total = F.embedding_bag(index, followed_by_zeros(rows, gaps), mode="sum", per_sample_weights=weights)
    return sum(bases[1:], bases[0]) + total if bases else total


@_operator("(Tensor gradient, Tensor rows, Tensor weights, Tensor tokens, Tensor index, bool gaps) -> (Tensor, Tensor)")
def weighted_sum_backward(
    gradient: Float[Tensor, "N D"],
    rows: Float[Tensor, "M D"],
    weights: Float[Tensor, "N K"],
    tokens: Int[Tensor, " M"],
    index: Int[Tensor, "N K"],
    gaps: bool,
) -> tuple[Float[Tensor, "M D"], Float[Tensor, "N K"]]:
    """The gradients of `rows` and `weights`. `tokens` is the n of each row; a row that no index names gets zeros."""
    rows_gradient = gradient.index_select(0, tokens)
    products = torch.linalg.vecdot(rows, rows_gradient)
    weights_gradient = followed_by_zeros(products, gaps).index_select(0, index.flatten()).view_as(weights)
    # A row that pads the layout has no weight; one more element takes the assignments without a row.
    scale = weights.new_zeros(len(rows) + 1).index_copy_(0, index.flatten(), weights.flatten())[:-1]
    rows_gradient.mul_(scale.to(gradient.dtype).unsqueeze(1))
    return rows_gradient, weights_gradient.to(weights.dtype)


@_operator("(Tensor logits, Tensor columns, Tensor(a!) out) -> Tensor")
def softmax_residual(
    logits: Float[Tensor, "n V"], columns: Int[Tensor, "n 1"], out: Float[Tensor, "n V"]
) -> Float[Tensor, "n 1"]:
    """The negative log-likelihood of each column in float32. `out`, in the dtype of the logits, becomes
    `softmax(logits) - one_hot(columns)`; on a GPU it may be `logits`."""
    wide = logits.float()
    probabilities = torch.softmax(wide, dim=-1, out=out if out.dtype == wide.dtype else None)
    # logsumexp by way of the largest probability, which is at least 1 / V: no second pass of exponentials.
    log_partition = wide.amax(dim=-1, keepdim=True) - probabilities.amax(dim=-1, keepdim=True).log()
    nll = log_partition - wide.gather(-1, columns)
    probabilities.scatter_add_(-1, columns, torch.full_like(nll, -1.0))
    if probabilities is not out:
        out.copy_(probabilities)
    return nll


def followed_by_zeros(rows: Float[Tensor, "M *D"], gaps: bool) -> Float[Tensor, "P *D"]:
    """With `gaps` a row of zeros more, which an index of M reads."""
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])]) if gaps else rows
