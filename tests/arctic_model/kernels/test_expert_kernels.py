"""Every kernel of the experts against a loop over them in float64."""

from collections.abc import Iterator
from typing import TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arctic_model.kernels import row_groups
from arctic_model.kernels.row_groups import PaddedGroups, are_padded, arrange, lay_out
from arctic_model.kernels.rows import rearrange
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.moe.experts import Experts

EXPERTS, WIDTH, INNER = 5, 24, 8
BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
"""Largest error, as a share of the largest value: a few roundings of 2^-24 and of 2^-8."""
Kinds: TypeAlias = set[tuple[str, torch.dtype]]
PADDED: Kinds = {("cpu", torch.float32), ("cpu", torch.bfloat16)}
GROUPED: Kinds = set()
"""Values for which rows are laid out as padded groups: all that is tested, or nothing."""


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """As the trainer sets it."""
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize("padded", [PADDED, GROUPED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(counts=st.lists(st.integers(0, 40), min_size=EXPERTS, max_size=EXPERTS).filter(any), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_any_loads(counts: list[int], seed: int, dtype: torch.dtype, padded: Kinds) -> None:
    check(counts, seed, dtype, padded)


@pytest.mark.parametrize("padded", [PADDED, GROUPED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [[70, 0, 0, 0, 0], [0, 0, 0, 0, 70], [0, 16, 0, 32, 0], [1, 0, 0, 0, 0]])
def test_idle_experts_and_all_rows_on_one(counts: list[int], dtype: torch.dtype, padded: Kinds) -> None:
    check(counts, 0, dtype, padded)


@pytest.mark.parametrize("padded", [PADDED, GROUPED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    counts=st.lists(st.integers(0, 20), min_size=EXPERTS, max_size=EXPERTS).filter(any),
)
@settings(max_examples=25, deadline=None)
def test_any_widths(counts: list[int], widths: tuple[int, int], dtype: torch.dtype, padded: Kinds) -> None:
    """Those too that grouped_mm refuses, in the layout of a GPU as in that of a CPU."""
    check(counts, 0, dtype, padded, widths)


def test_widths_are_padded_only_where_grouped_products_refuse_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's own kernel decides, for every width up to 40."""
    monkeypatch.setattr(row_groups, "PADDED", GROUPED)
    for dtype in (torch.float32, torch.bfloat16):
        for width in range(1, 41):
            refused = any(refuses(*sizes, dtype) for sizes in ((width, 16), (16, width)))
            assert are_padded(torch.zeros(8, width, dtype=dtype), 16) == refused, (dtype, width)
            assert are_padded(torch.zeros(8, 16, dtype=dtype), width) == refused, (dtype, width)


def refuses(inner: int, outer: int, dtype: torch.dtype) -> bool:
    ends = torch.tensor([4, 8], dtype=torch.int32)
    try:
        torch.nn.functional.grouped_mm(
            torch.zeros(8, inner, dtype=dtype), torch.zeros(2, outer, inner, dtype=dtype).mT, offs=ends
        )
    except RuntimeError as error:
        assert "16 bytes" in str(error)
        return True
    return False


def check(
    counts: list[int], seed: int, dtype: torch.dtype, padded: Kinds, widths: tuple[int, int] = (WIDTH, INNER)
) -> None:
    """Outputs and all gradients within the bound, and gradients of idle experts exactly zero."""
    experts, rows, upstream = random_case(sum(counts), seed, dtype, widths)
    wide = [tensor.detach().double().requires_grad_() for tensor in (rows, experts.w1, experts.w2, experts.w3)]
    expected = loop_over_experts(*wide, counts)
    required = torch.autograd.grad(expected, wide, upstream.double())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "PADDED", padded)
        result = outputs(experts, rows, counts)
        got = torch.autograd.grad(result, [rows, experts.w1, experts.w2, experts.w3], upstream)

    for mine, theirs in zip((result, *got), (expected, *required), strict=True):
        error = (mine.double() - theirs).abs().max() / theirs.abs().max()
        assert error <= BOUNDS[dtype]
    idle = torch.tensor(counts) == 0
    for gradient in got[1:]:
        assert not gradient[idle].any()


def random_case(
    num_rows: int, seed: int, dtype: torch.dtype, widths: tuple[int, int] = (WIDTH, INNER)
) -> tuple[Experts, Tensor, Tensor]:
    """Experts, their rows, and the gradient of their outputs."""
    generator = torch.Generator().manual_seed(seed)
    width, inner = widths
    experts = Experts(EXPERTS, width, inner).to(dtype)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    rows, upstream = torch.randn(2, num_rows, width, generator=generator).to(dtype).unbind()
    return experts, rows.requires_grad_(), upstream


def outputs(experts: Experts, rows: Tensor, counts: list[int]) -> Tensor:
    """Of `rows` sorted by expert, in that order, by way of the chosen layout."""
    groups = lay_out(torch.tensor(counts).cumsum(0), len(rows), padded=are_padded(rows, experts.w1.shape[1]))
    numbers = torch.arange(len(rows))
    sources, locations = arrange(groups, numbers, numbers, filler=len(rows))
    return rearrange(experts(rearrange(rows, sources, locations), groups), locations, sources)


def loop_over_experts(rows: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, counts: list[int]) -> Tensor:
    parts = zip(rows.split(counts), w1.unbind(), w2.unbind(), w3.unbind(), strict=True)
    return torch.cat([(torch.nn.functional.silu(part @ a.T) * (part @ c.T)) @ b.T for part, a, b, c in parts])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_worker_without_rows_has_outputs_and_zero_gradients(dtype: torch.dtype) -> None:
    experts, rows, _ = random_case(0, 0, dtype)
    outputs(experts, rows, [0] * EXPERTS).sum().backward()
    assert rows.grad is not None and rows.grad.shape == (0, WIDTH)
    for parameter in experts.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("padded", [PADDED, GROUPED])
def test_the_gradient_of_a_sum_has_no_strides(padded: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "PADDED", padded)
    counts = [9, 0, 3, 1, 7]
    experts, rows, _ = random_case(sum(counts), 1, torch.float32)
    (summed,) = torch.autograd.grad(outputs(experts, rows, counts).sum(), rows)
    (given_whole,) = torch.autograd.grad(outputs(experts, rows, counts), rows, torch.ones_like(rows))
    assert torch.equal(summed, given_whole)


def test_the_dense_mlp_is_one_expert() -> None:
    _, rows, upstream = random_case(13, 2, torch.float32)
    dense = DenseMLP(WIDTH, WIDTH)
    wide = [tensor.detach().double().requires_grad_() for tensor in (rows, *dense.parameters())]
    expected = loop_over_experts(wide[0], *(matrix[None] for matrix in wide[1:]), [13])
    result = dense(rows.unflatten(0, (1, 13))).flatten(0, 1)
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-5)
    required = torch.autograd.grad(expected, wide, upstream.double())
    for mine, theirs in zip(torch.autograd.grad(result, [rows, *dense.parameters()], upstream), required, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("counts", "length", "overflows"),
    [
        ([16, 16, 16, 16], 16, []),
        ([17, 15, 16, 16], 32, []),
        ([400, 15, 16, 16], 16, [(0, 64, 448)]),
        ([64, 0, 0, 0], 0, [(0, 0, 64)]),
        ([500, 3, 700, 0], 16, [(0, 64, 560), (2, 560, 1248)]),
        ([0, 0, 0, 0], 0, []),
    ],
)
def test_an_even_load_is_one_batch_and_a_long_group_a_product_of_its_own(
    counts: list[int], length: int, overflows: list[tuple[int, int, int]]
) -> None:
    groups = PaddedGroups.of(counts)
    assert (groups.length, list(groups.overflows)) == (length, overflows)


@given(counts=st.lists(st.integers(0, 90), min_size=1, max_size=9))
def test_every_row_has_a_place_of_its_own_in_its_group(counts: list[int]) -> None:
    groups = PaddedGroups.of(counts)
    owner = [group for group in range(len(counts)) for _ in range(groups.length)]
    for group, begin, end in groups.overflows:
        assert begin == len(owner)
        owner += [group] * (end - begin)
    locations, sources = (index.tolist() for index in groups.positions_and_sources())
    assert len(owner) == groups.num_rows == len(sources)
    assert len(set(locations)) == len(locations)
    assert [owner[location] for location in locations] == [
        group for group, count in enumerate(counts) for _ in range(count)
    ]
    assert [sources[location] for location in locations] == list(range(len(locations)))
    assert sources.count(len(locations)) == groups.num_rows - len(locations)
