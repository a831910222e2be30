"""SparseMoE by itself: its use in a third-party transformer."""

import pytest
import torch

from arctic_model.moe.balance import routing_balance
from arctic_model.moe.sparse_moe import SparseMoE
from arctic_model.presets import preset

CONFIG = preset("tiny", {"init_std": 0.3, "num_experts": 6})


@pytest.fixture
def moe() -> SparseMoE:
    moe = SparseMoE(CONFIG)
    generator = torch.Generator().manual_seed(0)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return moe


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, CONFIG.hidden_size, generator=torch.Generator().manual_seed(1))


def one_token(moe: SparseMoE, token: torch.Tensor) -> torch.Tensor:
    """Softmax over all experts, the two largest, renormalised; each expert by its three matrices."""
    probabilities = (moe.gate.weight @ token).softmax(-1)
    top = probabilities.argsort(descending=True)[: CONFIG.top_k]
    w1, w2, w3 = moe.experts.w1, moe.experts.w2, moe.experts.w3
    outputs = [w2[e] @ (torch.nn.functional.silu(w1[e] @ token) * (w3[e] @ token)) for e in top]
    return sum(p / probabilities[top].sum() * y for p, y in zip(probabilities[top], outputs, strict=True))


def test_every_token_gets_the_weighted_sum_of_its_experts(moe: SparseMoE) -> None:
    x = tokens(17)
    expected = torch.stack([one_token(moe, token) for token in x])
    torch.testing.assert_close(moe(x), expected, atol=1e-5, rtol=1e-4)


def test_sequences_are_their_tokens(moe: SparseMoE) -> None:
    x = tokens(3, 5)
    assert moe(x).shape == x.shape
    torch.testing.assert_close(moe(x).flatten(0, 1), moe(x.flatten(0, 1)), atol=0, rtol=0)


def test_a_capacity_is_that_of_each_sequence(moe: SparseMoE) -> None:
    """An expert takes ceil(0.5 * 6 * 2 / 6) = 1 token of each sequence: drops in one do not depend on the other."""
    x = tokens(2, 6)
    hidden, routing = moe.routed(x, capacity_factor=0.5)
    assert routing.keep_mask is not None
    alone = moe.routed(x[1], capacity_factor=0.5)
    assert torch.equal(routing.keep_mask[6:], alone.routing.keep_mask)
    torch.testing.assert_close(hidden[1], alone.hidden, atol=1e-5, rtol=1e-5)
    accepted = [routing.experts[token][routing.keep_mask[token]].tolist() for token in range(6)]
    experts = [expert for row in accepted for expert in row]
    assert len(experts) == len(set(experts))
    assert routing_balance(routing).dropped_share == pytest.approx(1 - float(routing.keep_mask.float().mean()))


def test_balance_is_by_definition_and_its_losses_reach_the_gate(moe: SparseMoE) -> None:
    x = tokens(40)
    _, routing = moe.routed(x)
    balance = routing_balance(routing)
    probabilities = (x @ moe.gate.weight.T).softmax(-1)
    counts = torch.zeros(CONFIG.num_experts)
    for row in probabilities.topk(CONFIG.top_k).indices:
        counts[row] += 1
    assert balance.assignments.tolist() == [counts.tolist()]
    expected = CONFIG.num_experts * sum(counts / 40 * probabilities.mean(0))
    assert balance.balance_loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert balance.max_expert_load == pytest.approx(float(counts.max() / counts.mean()))
    (gradient,) = torch.autograd.grad(balance.balance_loss + balance.z_loss, moe.gate.weight)
    assert gradient.abs().sum() > 0


def test_padding_counts_for_nothing(moe: SparseMoE) -> None:
    x = tokens(20)
    valid = torch.arange(20) < 13
    padded, short = (routing_balance(moe.routed(x).routing, valid), routing_balance(moe.routed(x[:13]).routing))
    assert torch.equal(padded.assignments, short.assignments)
    assert float(padded.balance_loss.detach()) == pytest.approx(float(short.balance_loss.detach()), rel=1e-6)


def test_one_optimizer_fits_it(moe: SparseMoE) -> None:
    """Every parameter has a gradient, and some steps bring the output nearer to a target."""
    x, target = tokens(64), tokens(64).flip(0)
    optimizer = torch.optim.AdamW(moe.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (moe(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in moe.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
