"""Balance by a bias, drops beyond a capacity, and the reported metrics of the router, each against its definition."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from arctic_model.config import ArcticConfig
from arctic_model.layer import ForwardPolicy
from arctic_model.model import ArcticModel
from arctic_model.moe import sparse_moe
from arctic_model.moe.balance import max_violation, router_figures, router_sums
from arctic_model.moe.router import Routing, route, updated_bias, within_capacity
from arctic_model.presets import preset
from arctic_model.training.losses.objective import Batch, Scale, training_loss, unpacked
from arctic_model.training.optimization.settings import Optimization

EXPERTS, TOP_K = 4, 2


def random_logits(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


def test_a_bias_moves_the_choice_and_never_the_weights() -> None:
    logits = random_logits(60, EXPERTS).requires_grad_()
    bias = torch.tensor([0.3, -0.2, 0.0, 0.1])
    routing = route(logits, TOP_K, bias)
    probabilities = logits.detach().double().softmax(-1)
    expected = (probabilities + bias).argsort(descending=True)[:, :TOP_K]
    assert torch.equal(routing.experts, expected)
    assert not torch.equal(routing.experts, route(logits, TOP_K).experts)
    selected = probabilities.gather(1, expected)
    torch.testing.assert_close(routing.weights.double(), selected / selected.sum(-1, keepdim=True))

    upstream = random_logits(60, TOP_K, seed=1)
    wide = logits.detach().double().requires_grad_()
    weights = wide.softmax(-1).gather(1, expected)
    (required,) = torch.autograd.grad(weights / weights.sum(-1, keepdim=True), wide, upstream.double())
    (result,) = torch.autograd.grad(routing.weights, logits, upstream)
    torch.testing.assert_close(result.double(), required, atol=1e-6, rtol=1e-5)


def test_a_bias_of_zero_changes_nothing() -> None:
    logits = random_logits(60, EXPERTS)
    plain, biased = route(logits, TOP_K), route(logits, TOP_K, torch.zeros(EXPERTS))
    assert torch.equal(plain.experts, biased.experts)
    assert torch.equal(plain.weights, biased.weights)


def test_each_step_moves_a_bias_by_the_rate_against_the_load() -> None:
    bias = torch.tensor([[0.5, 0.0, 0.0, -0.5], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    load = torch.tensor([[10.0, 2.0, 5.0, 3.0], [7.0, 7.0, 7.0, 7.0]], dtype=torch.float64)
    expected = torch.tensor([[0.499, 0.001, 0.0, -0.499], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(updated_bias(bias, load, 0.001), expected)


def test_an_even_load_is_even_whatever_the_number_of_experts() -> None:
    for experts in (3, 7, 49):
        load = torch.full((1, experts), 0.1, dtype=torch.float64) * 10_000_001
        assert not updated_bias(torch.zeros(1, experts, dtype=torch.float64), load.round(), 0.1).any()


def test_the_bias_balances_a_router_that_would_not_balance_itself() -> None:
    logits = random_logits(512, EXPERTS) + torch.tensor([2.0, 1.0, 0.0, -1.0])
    bias = torch.zeros(1, EXPERTS, dtype=torch.float64)

    def load() -> Tensor:
        return torch.bincount(route(logits, TOP_K, bias[0]).experts.flatten(), minlength=EXPERTS).double()[None]

    assert float(max_violation(load())) > 0.8
    for _ in range(400):
        bias = updated_bias(bias, load(), 0.002)
    assert float(max_violation(load())) < 0.05


def first_come(experts: list[list[int]], capacity: int) -> list[list[bool]]:
    """Token by token: an expert takes who comes until it is full."""
    taken, remaining = [0] * EXPERTS, []
    for selected in experts:
        remaining.append([taken[expert] < capacity for expert in selected])
        for expert in selected:
            taken[expert] += 1
    return remaining


@pytest.mark.parametrize(("factor", "capacity"), [(0.1, 1), (0.5, 3), (1.0, 6), (1.25, 8), (2.0, 12)])
def test_of_each_sequence_an_expert_takes_the_first(factor: float, capacity: int) -> None:
    length = 12
    sequences = route(random_logits(3 * length, EXPERTS, spread=3.0), TOP_K).experts
    remaining = within_capacity(sequences, EXPERTS, length, factor)
    for row in range(3):
        own = slice(row * length, (row + 1) * length)
        assert remaining[own].tolist() == first_come(sequences[own].tolist(), capacity)
        assert torch.equal(remaining[own], within_capacity(sequences[own], EXPERTS, length, factor)), (
            "the batch has no say"
        )


def test_later_tokens_never_decide_what_is_dropped() -> None:
    first, second = (route(random_logits(12, EXPERTS, seed=seed, spread=3.0), TOP_K).experts for seed in (0, 1))
    changed = torch.cat([first[:7], second[7:]])
    remaining, after = (within_capacity(experts, EXPERTS, 12, 0.5) for experts in (first, changed))
    assert torch.equal(remaining[:7], after[:7])
    assert not remaining[:7].all()


def random_pass(config: ArcticConfig, seed: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(0, config.vocab_size, (2, 12), generator=torch.Generator().manual_seed(seed))
    return ids, torch.arange(12).repeat(2, 1), torch.tensor([[0] * 12, [0] * 9 + [-1] * 3], dtype=torch.int32)


def model_of(config: ArcticConfig) -> ArcticModel:
    return ArcticModel(config, seed=3)


def test_a_dropped_token_has_no_part_of_its_expert() -> None:
    """One layer, with the experts' outputs taken from the model without drops, one choice at a time."""
    config = preset("tiny", {"init_std": 0.2, "num_layers": 1})
    model = model_of(config)
    ids, positions, segments = random_pass(config)
    layer = model.model.layers[0]
    outputs = []
    layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    with torch.no_grad():
        for factor in (0.0, 0.75):
            model.hidden_states(ids, positions, segments, policy=ForwardPolicy(capacity_factor=factor))
        tokens = layer.post_attention_layernorm(model.model.embed_tokens(ids)).flatten(0, 1)
        whole, dropping = outputs
        remaining = dropping.routing.keep_mask
        assert 0 < int((~remaining).sum()) < remaining.numel()
        expected = whole.hidden.flatten(0, 1).clone()
        experts = layer.block_sparse_moe.experts
        for token, slot in (~remaining).nonzero().tolist():
            number = int(whole.routing.experts[token, slot])
            gate, up = (matrix[number] @ tokens[token] for matrix in (experts.w1, experts.w3))
            inner = torch.nn.functional.silu(gate) * up
            expected[token] -= whole.routing.weights[token, slot] * (experts.w2[number] @ inner)
    torch.testing.assert_close(dropping.hidden.flatten(0, 1), expected, atol=1e-5, rtol=1e-4)


def test_gradients_with_drops_are_those_of_weights_set_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows travel in the second model; the rows that the first drops have weight zero there."""
    config = preset("tiny", {"init_std": 0.2})
    dropping, weighing = model_of(config), model_of(config)
    policy = ForwardPolicy(capacity_factor=0.75)
    upstream = random_logits(2, 12, config.hidden_size, seed=5)
    (dropping.hidden_states(*random_pass(config), policy=policy).hidden * upstream).sum().backward()

    class WholeRoute(sparse_moe.Route):
        def __init__(self, experts: Tensor, num_experts: int, group: object, padded: bool, remaining: Tensor) -> None:
            super().__init__(experts, num_experts, group, padded)
            self.kept = remaining

    combine = sparse_moe.dispatch.wait_combine
    monkeypatch.setattr(sparse_moe, "Route", WholeRoute)
    monkeypatch.setattr(
        sparse_moe.dispatch,
        "wait_combine",
        lambda rows, exchange, path, weights, *bases: combine(rows, exchange, path, weights * path.kept, *bases),
    )
    (weighing.hidden_states(*random_pass(config), policy=policy).hidden * upstream).sum().backward()
    for (name, mine), theirs in zip(dropping.named_parameters(), weighing.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(
                mine.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=lambda why, n=name: f"{n}: {why}"
            )


def test_a_capacity_that_holds_all_changes_nothing() -> None:
    config = preset("tiny", {"init_std": 0.2})
    model = model_of(config)
    plain = model.hidden_states(*random_pass(config))
    roomy = model.hidden_states(*random_pass(config), policy=ForwardPolicy(capacity_factor=float(EXPERTS)))
    assert torch.equal(plain.hidden, roomy.hidden)
    assert roomy.routing.keep_mask.all()


def test_figures_are_their_definitions_layer_by_layer() -> None:
    layers, tokens = 3, 40
    routings = [route(random_logits(tokens, EXPERTS, seed=layer, spread=2.0), TOP_K) for layer in range(layers)]
    remaining = [within_capacity(routing.experts, EXPERTS, 10, 0.75) for routing in routings]
    valid = torch.arange(tokens) % 10 < 8
    stacked = Routing(
        *(torch.stack(parts) for parts in zip(*(r[:3] for r in routings), strict=True)), torch.stack(remaining)
    )
    figures = router_figures(router_sums(stacked, valid), float(valid.sum()))
    for layer, (routing, keeps) in enumerate(zip(routings, remaining, strict=True)):
        selected = routing.experts[valid].flatten().tolist()
        shares = [selected.count(expert) / len(selected) for expert in range(EXPERTS)]
        expected = {
            "load_entropy": -sum(share * math.log(share) for share in shares if share) / math.log(EXPERTS),
            "max_violation": max(shares) * EXPERTS - 1,
            "dropped_share": float((~keeps[valid]).double().mean()),
            "top_weight": float(routing.weights[valid].max(-1).values.double().mean()),
            "z": float(routing.logits[valid].double().exp().sum(-1).log().square().mean()),
        }
        assert {name: float(figure[layer]) for name, figure in figures.items()} == pytest.approx(expected, rel=1e-5)


def test_one_expert_that_takes_all_has_no_entropy_and_the_most_violation() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0, 0.0]]).repeat(6, 1)[None]
    routing = Routing(logits, torch.zeros(1, 6, 1, dtype=torch.long), torch.ones(1, 6, 1))
    figures = router_figures(router_sums(routing, torch.ones(6, dtype=torch.bool)), 6.0)
    assert float(figures["load_entropy"]) == 0.0
    assert float(figures["max_violation"]) == EXPERTS - 1
    assert float(figures["dropped_share"]) == 0.0


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    """The property that makes losses and figures independent of passes and workers, drops included."""
    config = preset("tiny", {"init_std": 0.2, "router_bias": True})
    model = model_of(config)
    model.set_router_biases(random_logits(2, EXPERTS) * 0.1)
    ids, positions, segments = random_pass(config)
    scale = Scale(24.0, 21.0, torch.ones(2, EXPERTS))
    settings = Optimization(capacity_factor=0.75)

    def sums(rows: slice) -> Tensor:
        batch = Batch(ids[rows], positions[rows], segments[rows], ids[rows])
        return training_loss(model, batch, scale, settings)[1]

    whole, parts = sums(slice(0, 2)), sums(slice(0, 1)) + sums(slice(1, 2))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-6)
    shape = (2, EXPERTS, 0)
    assert torch.equal(unpacked(parts, *shape).router.dropped, unpacked(whole, *shape).router.dropped)
    assert float(unpacked(whole, *shape).router.dropped.sum()) > 0


def test_a_models_biases_are_float32_even_where_the_model_is_not() -> None:
    model = ArcticModel(preset("tiny", {"router_bias": True}), seed=0).bfloat16()
    biases = [next(model.buffers()).clone()]
    for _ in range(3):
        model.balance(torch.tensor([[4.0, 2.0, 2.0, 0.0]] * 2), 0.001)
        biases.append(next(model.buffers()).clone())
    for before, after in pairwise(biases):
        torch.testing.assert_close(after - before.float(), torch.tensor([-0.001, 0.0, 0.0, 0.001]), atol=1e-9, rtol=0)


def test_a_model_without_biases_cannot_be_balanced_by_them() -> None:
    with pytest.raises(ValueError, match="moves biases that the model has not. Set model.router_bias = true"):
        ArcticModel(preset("tiny")).balance(torch.ones(2, EXPERTS), 0.001)
