"""The frozen matrices under adapters: unchanged, or in FP8 blocks, a byte per weight. QLoRA holds its base in 4 bits
(Dettmers et al. 2023, arXiv 2305.14314); the format here is that of an export in FP8."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.kernels.fp8_blocks import BLOCK, dequantize_blocks, quantize_blocks
from arctic_model.kernels.grouped_products import add_down_projection, down_projection, up_projection
from arctic_model.kernels.operators import swiglu, swiglu_backward
from arctic_model.kernels.row_groups import Groups
from arctic_model.moe.experts import Experts


class Fp8Matrix(nn.Module):
    """A matrix, or a stack of them, [*, rows, columns] in FP8 blocks. Multiply with `dense`."""

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        super().__init__()
        blocks = (*shape[:-2], *(-(-size // BLOCK) for size in shape[-2:]))
        # As integers: an engine that turns a model into bfloat16 leaves them alone.
        self.codes = _integers(shape, torch.uint8, device)
        self.scale_bits = _integers(blocks, torch.int32, device)
        self.shape = shape

    @torch.no_grad()
    def fill(self, read: Callable[[int, int], Tensor]) -> None:
        """Quantize the flat values that `read(start, length)` returns, one matrix at a time."""
        rows, columns = self.shape[-2:]
        codes, scales = self.codes.view(-1, rows, columns), self.scale_bits.view(-1, *self.scale_bits.shape[-2:])
        for number, (code, scale) in enumerate(zip(codes, scales, strict=True)):
            matrix = read(number * rows * columns, rows * columns).view(rows, columns)
            values, found = quantize_blocks(matrix.to(code.device, torch.float32))
            code.copy_(values.view(torch.uint8))
            scale.copy_(found.view(torch.int32))

    def dense(self, dtype: torch.dtype) -> Float[Tensor, "*E rows columns"]:
        """The matrix in `dtype`."""
        return dequantize_blocks(self.codes.view(torch.float8_e4m3fn), self.scale_bits.view(torch.float32), dtype)


FrozenMatrix: TypeAlias = nn.Parameter | Fp8Matrix


def frozen(matrix: Tensor, *, quantize: bool) -> FrozenMatrix:
    """The parameter `matrix` as it is, or in FP8 blocks; one on the meta device has no values yet."""
    if not quantize:
        return cast(nn.Parameter, matrix)
    quantized = Fp8Matrix(matrix.shape, matrix.device)
    if not matrix.is_meta:
        flat = matrix.detach().reshape(-1)
        quantized.fill(lambda start, length: flat[start : start + length])
    return quantized


def dense(matrix: FrozenMatrix, dtype: torch.dtype) -> Tensor:
    """The values of a frozen matrix in `dtype`."""
    return matrix.dense(dtype) if isinstance(matrix, Fp8Matrix) else matrix.detach().to(dtype)


def fp8_matrices(model: nn.Module) -> Iterator[tuple[str, Fp8Matrix]]:
    """Every matrix of `model` that is held in FP8 blocks, by the name of the parameter that it replaces."""
    return ((name, each) for name, each in model.named_modules() if isinstance(each, Fp8Matrix))


def frozen_product(
    x: Float[Tensor, "*batch D_in"], matrix: FrozenMatrix, bias: Tensor | None
) -> Float[Tensor, "*batch D_out"]:
    """`x @ matrix.T + bias`. Of a matrix in FP8 blocks nothing in a wider dtype outlives the product."""
    if not isinstance(matrix, Fp8Matrix):
        return F.linear(x, matrix, bias)
    product: Tensor = _Fp8Product.apply(x, matrix)
    return product if bias is None else product + bias


class FrozenLinear(nn.Module):
    """A linear layer that does not learn."""

    def __init__(self, linear: nn.Linear, *, quantize: bool) -> None:
        super().__init__()
        self.weight = frozen(linear.weight, quantize=quantize)
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """See `frozen_product`."""
        return frozen_product(x, self.weight, self.bias)


class FrozenExperts(nn.Module):
    """E' local experts that do not learn, in FP8 blocks (see `arctic_model.moe.experts.Experts`)."""

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.inner_widths = experts.inner_widths
        self.w1, self.w2, self.w3 = (frozen(each, quantize=True) for each in (experts.w1, experts.w2, experts.w3))

    def forward(self, rows: Float[Tensor, "M D"], groups: Groups) -> Float[Tensor, "M D"]:
        """The output of each expert for its own group of rows."""
        output: Tensor = _FrozenSwiGLU.apply(rows, (self.w1, self.w2, self.w3), groups)
        return output


class _Fp8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Fp8Matrix) -> Tensor:
        ctx.matrix = matrix
        return F.linear(x, matrix.dense(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.matrix.dense(gradient.dtype), None


class _FrozenSwiGLU(torch.autograd.Function):
    """`arctic_model.layers.feed_forward.swiglu_mlp` of groups, whose weights are read again in backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: tuple[FrozenMatrix, ...], groups: Groups) -> Tensor:
        w1, w2, w3 = weights
        gate = up_projection(rows, dense(w1, rows.dtype).mT, groups)
        up = up_projection(rows, dense(w3, rows.dtype).mT, groups)
        ctx.save_for_backward(gate, up)
        ctx.weights, ctx.groups = weights, groups
        return down_projection(swiglu(gate, up), dense(w2, rows.dtype).mT, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (gate, up), (w1, w2, w3), groups = ctx.saved_tensors, ctx.weights, ctx.groups
        gradient = gradient.contiguous()
        gate_gradient, up_gradient = up_projection(gradient, dense(w2, gradient.dtype), groups), torch.empty_like(up)
        swiglu_backward(gate_gradient, gate, up, gate_gradient, up_gradient, None)
        rows_gradient = down_projection(gate_gradient, dense(w1, gradient.dtype), groups)
        return add_down_projection(rows_gradient, up_gradient, dense(w3, gradient.dtype), groups), None, None


def _integers(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=dtype, device=device), requires_grad=False)
