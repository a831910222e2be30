"""Products in FP8 against numbers worked out one by one, and a training in FP8 against one in bfloat16."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from arctic_model.config import ConfigError
from arctic_model.kernels.fp8_products import fp8_linear, fp8_product, rounded_factors, scaled_product
from arctic_model.kernels.grouped_products import add_down_projection, down_projection, up_projection
from arctic_model.kernels.operators import quantized_rows
from arctic_model.kernels.row_groups import Groups, PaddedGroups
from arctic_model.layers.feed_forward import swiglu_mlp
from arctic_model.layers.packed_products import packed_swiglu_mlp
from arctic_model.presets import preset
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

E4M3 = sorted({(8 + mantissa) * 2.0 ** (exponent - 10) for exponent in range(1, 16) for mantissa in range(8)} | {0.0})
"""Its normal numbers up to 480, which is none of them."""
E4M3.remove(480.0)
E4M3[1:1] = [mantissa * 2.0**-9 for mantissa in range(1, 8)]


def nearest(value: float) -> float:
    """The number of e4m3 next to `value`, the one with the even mantissa of two equally near."""
    distance = [abs(abs(value) - each) for each in E4M3]
    best = min(distance)
    numbers = [number for number, each in enumerate(distance) if each == best]
    return math.copysign(E4M3[next((each for each in numbers if each % 2 == 0), numbers[0])], value)


def quantized(row: list[float]) -> list[float]:
    """A row after rounding to FP8: the scale is found by trying powers of two."""
    largest = max(map(abs, row))
    scale = next(2.0**power for power in range(-126, 128) if largest <= 448 * 2.0**power)
    return [scale * nearest(each / scale) for each in row]


def expected_rows(matrix: Tensor) -> Tensor:
    rows = matrix.double().flatten(0, -2).tolist()
    return torch.tensor([quantized(row) for row in rows], dtype=torch.float64).view(matrix.shape)


def test_a_quantized_row_is_its_numbers_to_the_nearest() -> None:
    torch.manual_seed(0)
    rows = torch.randn(40, 48) * 10.0 ** torch.randint(-20, 20, (40, 1))
    rows[0], rows[1, 0], rows[2] = 0, 448.0, rows[2] / rows[2].abs().max() * 448.1
    values, scales = quantized_rows(rows)
    assert torch.equal(values.double() * scales, expected_rows(rows))
    assert values[1, 0] == 448 and scales[1] == 1 and scales[2] == 2
    assert torch.equal(torch.frexp(scales).mantissa, torch.full_like(scales, 0.5)), "powers of two"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_stays_so(bad: float) -> None:
    rows = torch.ones(3, 16)
    rows[1, 5] = bad
    product = fp8_product(rows, torch.ones(16, 16))
    assert product.isfinite().all(dim=1).tolist() == [True, False, True]


def test_the_rounded_factors_multiply_as_torch_multiplies_in_fp8() -> None:
    """`scaled_product` is what a GPU runs; torch has its kernel for all rows on a CPU too."""
    torch.manual_seed(0)
    rows, matrix = torch.randn(20, 64).bfloat16(), torch.randn(64, 48).bfloat16()
    left, right = rounded_factors(rows, matrix)
    exact = left.double() @ right.double()
    assert torch.equal(left.double(), expected_rows(rows)) and torch.equal(right.double(), expected_rows(matrix.mT).mT)
    for product in (fp8_product(rows, matrix), scaled_product(rows, matrix, None)):
        torch.testing.assert_close(product.double(), exact, rtol=2**-8, atol=1e-2)
    assert (exact - rows.double() @ matrix.double()).abs().max() > 0.1, "rounding shows"


def test_the_kernel_for_groups_accepts_the_factors() -> None:
    """Torch checks their layout on the meta device as on a GPU."""
    rows, matrices = torch.empty(20, 64, dtype=torch.bfloat16), torch.empty(3, 48, 64, dtype=torch.bfloat16)
    rows, matrices = rows.to("meta"), matrices.to("meta")
    ends = torch.empty(3, dtype=torch.int32, device="meta")
    assert scaled_product(rows, matrices.mT, ends).shape == (20, 48)
    assert scaled_product(torch.empty(20, 48, dtype=torch.bfloat16, device="meta"), matrices, ends).shape == (20, 64)


def layouts(counts: list[int]) -> Iterator[tuple[Groups, Tensor]]:
    """Groups, and the row of the layout at which each of all rows lies."""
    yield torch.tensor(counts).cumsum(0).int(), torch.arange(sum(counts))
    padded = PaddedGroups.of(counts)
    yield padded, padded.positions_and_sources()[0]


def test_each_row_of_groups_is_quantized_alone() -> None:
    torch.manual_seed(0)
    counts = [3, 0, 40]
    rows, matrices = torch.randn(43, 32) * torch.rand(43, 1), torch.randn(3, 32, 48)
    back = torch.randn(3, 48, 32)
    numbers = torch.tensor([0] * 3 + [2] * 40)
    inner = torch.einsum("md,mdf->mf", expected_rows(rows), expected_rows(matrices.mT).mT[numbers])
    outer = torch.einsum("mf,mfd->md", expected_rows(inner.float()), expected_rows(back.mT).mT[numbers])
    for groups, position in layouts(counts):
        size = groups.num_rows if isinstance(groups, PaddedGroups) else 43
        laid = torch.zeros(size, 32).index_copy_(0, position, rows)
        up = up_projection(laid, matrices, groups, fp8=True)
        down = down_projection(up, back, groups, fp8=True)
        torch.testing.assert_close(down[position].double(), outer, rtol=1e-4, atol=1e-4)
        twice = add_down_projection(down.clone(), up, back, groups, fp8=True)
        torch.testing.assert_close(twice[position].double(), 2 * outer, rtol=1e-4, atol=1e-4)


def test_gradients_of_inputs_are_products_in_fp8_and_those_of_weights_are_not() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 32).requires_grad_(), torch.randn(16, 32).requires_grad_()
    gradient = torch.randn(2, 5, 16)
    fp8_linear(x, weight).backward(gradient)
    assert x.grad is not None and weight.grad is not None
    exact = expected_rows(gradient) @ expected_rows(weight.detach().mT).mT
    torch.testing.assert_close(x.grad.double(), exact, rtol=1e-5, atol=1e-5)
    plain = gradient.flatten(0, 1).T @ x.detach().flatten(0, 1)
    torch.testing.assert_close(weight.grad, plain)


def test_the_products_of_a_gpu_are_those_of_a_cpu() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(*shape).requires_grad_() for shape in ((20, 32), (48, 32), (32, 48), (48, 32))]
    result = [function(*weights, fp8=True) for function in (swiglu_mlp, packed_swiglu_mlp)]
    gradients = [torch.autograd.grad(each, weights, torch.ones_like(each)) for each in result]
    for ours, theirs in pairwise([(result[0], *gradients[0]), (result[1], *gradients[1])]):
        for one, other in zip(ours, theirs, strict=True):
            # A gradient that is the sum of two products has two scales on a CPU, and one on a GPU.
            torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * float(other.detach().abs().max()))


CONFIG = preset("tiny", {"hidden_size": 64, "num_heads": 2, "num_kv_heads": 1, "expert_size": 48})
NUM_STEPS, LAST = 60, 10


def losses(**settings: Any) -> list[float]:
    """Of steps on batches in which the next token follows from the last by a rule."""
    optimization = Optimization(dtype="bfloat16", **settings)
    engine = Engine(CONFIG, optimization, 1, 1, training_loss)
    scale = Scale(4 * 32.0, 4 * 32.0, torch.full((CONFIG.num_layers, CONFIG.num_experts), 0.5))
    result = []
    for step in range(NUM_STEPS):
        first = torch.randint(0, 64, (4, 1), generator=torch.Generator().manual_seed(step))
        ids = (first * 3 ** torch.arange(33) + 7 * torch.arange(33)) % 64
        positions, segments = torch.arange(32).repeat(4, 1), torch.zeros(4, 32, dtype=torch.int32)
        loss, _ = engine.forward(Batch(ids[:, :-1], positions, segments, ids[:, 1:]), scale, optimization)
        engine.backward(loss)
        engine.step(0.003, engine.gradient_norm())
        result.append(float(loss))
    engine.close()
    return result


@pytest.mark.usefixtures("one_worker")
def test_a_training_in_fp8_loses_what_one_in_bfloat16_loses() -> None:
    """With either engine; the goal is a difference below two in a hundred of what was learnt."""
    plain = losses(engine="flat")
    learnt = plain[0] - sum(plain[-LAST:]) / LAST
    assert learnt > 1.0
    for engine in ("flat", "deepspeed"):
        fp8 = losses(engine=engine, fp8=True)
        assert fp8 != plain
        assert abs(sum(fp8[-LAST:]) - sum(plain[-LAST:])) / LAST < 0.02 * learnt


@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize(
    ("overrides", "dtype", "reason"),
    [
        ({}, "float32", "fp8 = True with dtype = 'float32'"),
        ({"expert_size": 24}, "bfloat16", "fp8 = True with expert_size = 24"),
        ({"dense_size": 40}, "bfloat16", "fp8 = True with dense_size = 40"),
        ({"hidden_size": 72}, "bfloat16", "fp8 = True with hidden_size = 72"),
        ({"num_heads": 3, "head_size": 24}, "bfloat16", "fp8 = True with num_kv_heads = 1 and head_size = 24"),
    ],
)
def test_what_fp8_cannot_multiply_is_refused(overrides: dict[str, int], dtype: Any, reason: str) -> None:
    config = preset("tiny", {"hidden_size": 64, "num_heads": 2, "num_kv_heads": 1, "expert_size": 48} | overrides)
    with pytest.raises(ConfigError, match=reason):
        Engine(config, Optimization(dtype=dtype, fp8=True), 1, 1, training_loss)
