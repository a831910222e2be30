"""Router, experts and losses, each against its definition."""

from contextlib import AbstractContextManager
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arctic_model.kernels import row_groups
from arctic_model.kernels.row_groups import are_padded
from arctic_model.layers.normalization import rms_norm
from arctic_model.moe.balance import balance_loss, max_expert_load, router_sums, z_loss
from arctic_model.moe.dispatch import ExpertGroup, Route, gather_tokens, start_combine, start_dispatch, wait_combine
from arctic_model.moe.experts import Experts
from arctic_model.moe.router import Routing, route
from arctic_model.training.losses.cross_entropy import head_nll, token_nll
from arctic_model.training.optimization.schedule import Schedule

EXPERTS, WIDTH, INNER = 4, 16, 8
EITHER_LAYOUT = pytest.mark.parametrize("padded", [False, True])
TWO_EXPERTS = st.permutations(range(EXPERTS)).map(lambda order: order[:2])


def random_experts() -> Experts:
    experts = Experts(EXPERTS, WIDTH, INNER)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return experts


def loop_over_experts(x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor, stacks: list) -> torch.Tensor:
    """Token by token, choice by choice."""
    w1, w2, w3 = stacks
    rows = []
    for token, ids, scale in zip(x, chosen.tolist(), weights, strict=True):
        outputs = [w2[e] @ (torch.nn.functional.silu(w1[e] @ token) * (w3[e] @ token)) for e in ids]
        rows.append(sum(s * y for s, y in zip(scale, outputs, strict=True)))
    return torch.stack(rows)


@EITHER_LAYOUT
@settings(max_examples=25, deadline=None)
@given(
    chosen=st.lists(TWO_EXPERTS, min_size=1, max_size=20),
    seed=st.integers(0, 1000),
)
def test_sorted_dispatch_and_grouped_experts_are_the_loop_over_experts(padded: bool, chosen: list, seed: int) -> None:
    """On any routing, also with idle experts; outputs and all gradients."""
    torch.manual_seed(seed)
    with layout(padded):
        check_routing(torch.tensor(chosen))


@EITHER_LAYOUT
@pytest.mark.parametrize("pair", [[0, 3], [3, 0], [2, 1]])
def test_all_tokens_on_two_experts(pair: list[int], padded: bool) -> None:
    torch.manual_seed(0)
    with layout(padded):
        check_routing(torch.tensor([pair] * 33))


@EITHER_LAYOUT
@settings(max_examples=25, deadline=None)
@given(assignments=st.lists(st.tuples(TWO_EXPERTS, st.tuples(st.booleans(), st.booleans())), min_size=1, max_size=20))
def test_an_assignment_that_is_not_kept_counts_as_one_of_no_weight(padded: bool, assignments: list) -> None:
    torch.manual_seed(0)
    selected, remaining = (torch.tensor(part) for part in zip(*assignments, strict=True))
    with layout(padded):
        check_routing(selected, remaining)


def layout(padded: bool) -> AbstractContextManager[None]:
    """Rows of float32 in the layout that they are multiplied in on a CPU, or in that of bfloat16."""
    return mock.patch.object(row_groups, "PADDED", {("cpu", torch.float32)} if padded else set())


def check_routing(chosen: torch.Tensor, remaining: torch.Tensor | None = None) -> None:
    experts, group = random_experts(), ExpertGroup()
    x = torch.randn(len(chosen), WIDTH, requires_grad=True)
    weights = torch.rand(chosen.shape, requires_grad=True)
    wide = [tensor.detach().double().requires_grad_() for tensor in (x, weights, *experts.parameters())]
    expected = loop_over_experts(wide[0], chosen, wide[1] if remaining is None else wide[1] * remaining, wide[2:])

    path = Route(chosen, EXPERTS, group, are_padded(x, INNER), remaining)
    rows = gather_tokens(x, path)
    path.finish()
    rows, _ = start_dispatch(rows, path, group)
    outputs, _ = start_combine(experts(rows, path.groups), path, group)
    result = wait_combine(outputs, None, path, weights)

    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    required = torch.autograd.grad(expected, wide, upstream)
    got = torch.autograd.grad(result, [x, weights, *experts.parameters()], upstream.float())
    for mine, theirs in zip(got, required, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-4, rtol=1e-4)


def test_route_takes_the_two_largest_and_renormalises_the_softmax() -> None:
    logits = torch.randn(50, EXPERTS, generator=torch.Generator().manual_seed(0))
    routing = route(logits, 2)
    probabilities = logits.double().softmax(-1)
    best = probabilities.sort(descending=True)
    assert torch.equal(routing.experts, best.indices[:, :2])
    expected = best.values[:, :2] / best.values[:, :2].sum(-1, keepdim=True)
    torch.testing.assert_close(routing.weights.double(), expected)


def test_router_losses_are_their_definitions_over_real_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 10, EXPERTS, generator=generator, dtype=torch.float64).float()
    valid = torch.tensor([True] * 8 + [False] * 2)
    routings = [route(layer, 2) for layer in logits]
    experts, weights = (torch.stack([getattr(each, name) for each in routings]) for name in ("experts", "weights"))
    sums = router_sums(Routing(logits, experts, weights), valid)

    balance = z = 0.0
    for layer in range(3):
        probabilities = logits[layer, :8].double().softmax(-1)
        for expert in range(EXPERTS):
            share = sum(expert in selected for selected in experts[layer, :8].tolist()) / 8
            balance += EXPERTS * share * probabilities[:, expert].mean() / 3
        z += logits[layer, :8].double().exp().sum(-1).log().square().mean() / 3
    assert float(balance_loss(sums.assignments / 8, sums.probabilities, 8.0)) == pytest.approx(float(balance), rel=1e-6)
    assert float(z_loss(sums.z, 8.0)) == pytest.approx(float(z), rel=1e-6)


def test_perfect_balance_costs_top_k_and_loads_one() -> None:
    even = torch.full((2, EXPERTS), 5.0)
    assert float(balance_loss(even / 10, even / 2, 10.0)) == pytest.approx(2.0)
    assert max_expert_load(even) == pytest.approx(1.0)
    assert max_expert_load(torch.tensor([[20.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])) == pytest.approx(2.5)


def test_the_fused_loss_is_the_plain_one_in_float64() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(70, WIDTH, generator=generator).requires_grad_()
    head = torch.randn(30_000, WIDTH, generator=generator).requires_grad_()
    targets = torch.randint(0, 30_000, (70,), generator=generator)
    targets[::7] = -1
    wide_hidden, wide_head = (tensor.detach().double().requires_grad_() for tensor in (hidden, head))
    expected = torch.nn.functional.cross_entropy(wide_hidden @ wide_head.T, targets, ignore_index=-1, reduction="sum")
    result, terms = head_nll(hidden, head, targets)
    torch.testing.assert_close(terms, token_nll(hidden @ head.T, targets).detach())
    assert float(result.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(
        terms.double(), token_nll(wide_hidden @ wide_head.T, targets).double(), atol=1e-4, rtol=1e-5
    )
    required = torch.autograd.grad(expected * 0.5, [wide_hidden, wide_head])
    got = torch.autograd.grad(result * 0.5, [hidden, head])
    for mine, theirs in zip(got, required, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-5, rtol=1e-4)


def test_token_nll_is_cross_entropy_and_zero_without_target() -> None:
    logits = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([[1, 8, -1], [0, -1, 4]])
    expected = torch.nn.functional.cross_entropy(
        logits.double().transpose(1, 2), targets, ignore_index=-1, reduction="none"
    )
    torch.testing.assert_close(token_nll(logits, targets).double(), expected)


def test_a_target_of_vanishing_probability_has_a_finite_loss() -> None:
    hidden = torch.tensor([[200.0]])
    head = torch.tensor([[1.0], [-1.0]])
    assert float(head_nll(hidden, head, torch.tensor([1]))[0]) == pytest.approx(400.0)


def test_rms_norm_is_its_formula() -> None:
    x = torch.randn(5, 7, WIDTH, generator=torch.Generator().manual_seed(4)).requires_grad_()
    weight = torch.rand(WIDTH, generator=torch.Generator().manual_seed(5)).requires_grad_()
    wide_x, wide_weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    expected = wide_x * (wide_x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * wide_weight
    result = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=1e-5)
    upstream = torch.randn(5, 7, WIDTH, generator=torch.Generator().manual_seed(6))
    required = torch.autograd.grad(expected, [wide_x, wide_weight], upstream.double())
    for mine, theirs in zip(torch.autograd.grad(result, [x, weight], upstream), required, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-5, rtol=1e-5)


def test_the_rate_warms_up_stays_and_decays() -> None:
    schedule = Schedule(1.0, 0.1, warmup_tokens=100, decay_start_tokens=600, decay_end_tokens=1000)
    points = {50: 0.5, 100: 1.0, 600: 1.0, 800: 0.55, 1000: 0.1, 1200: 0.1}
    assert {tokens: pytest.approx(schedule.learning_rate(tokens)) for tokens in points} == points
    assert Schedule(1.0).learning_rate(10**12) == 1.0
