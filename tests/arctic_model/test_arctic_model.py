"""The model against a float64 reference written from its definition, forward and backward."""

import math

import pytest
import torch
from torch import Tensor

from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.config import ArcticConfig
from arctic_model.layer import ForwardPolicy
from arctic_model.model import ArcticModel
from arctic_model.presets import preset

CONFIG = preset("tiny", {"init_std": 0.2})


@pytest.fixture
def model() -> ArcticModel:
    return ArcticModel(CONFIG, seed=1)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Two rows: two documents; one document, then padding."""
    ids = torch.randint(0, CONFIG.vocab_size, (2, 12), generator=torch.Generator().manual_seed(2))
    segments = torch.tensor([[0] * 5 + [1] * 7, [0] * 9 + [-1] * 3], dtype=torch.int32)
    positions = torch.tensor([[*range(5), *range(7)], [*range(9), *range(3)]])
    return ids, positions, segments


class Reference:
    """Arctic in float64, a token at a time, with the released model's tensor names."""

    def __init__(self, model: ArcticModel) -> None:
        self.config: ArcticConfig = model.config
        self.weights = {name: w.double().requires_grad_() for name, w in model.logical_tensors()}

    def logits(self, ids: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        return torch.stack([self.row(*row) for row in zip(ids, positions, segments, strict=True)])

    def row(self, ids: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config.num_layers):
            x = self.layer(f"model.layers.{layer}.", x, positions, segments)
        return self.norm("model.norm", x) @ self.weights["lm_head.weight"].T

    def layer(self, name: str, x: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        a = x + self.attention(name + "self_attn.", self.norm(name + "input_layernorm", x), positions, segments)
        dense = self.mlp(name + "residual_mlp.w{}.weight", self.norm(name + "residual_layernorm", a))
        tokens = self.norm(name + "post_attention_layernorm", x)
        return a + dense + torch.stack([self.experts(name + "block_sparse_moe.", token) for token in tokens])

    def norm(self, name: str, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + self.config.rms_norm_eps).sqrt() * self.weights[name + ".weight"]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        gate, up = x @ self.weights[name.format(1)].T, x @ self.weights[name.format(3)].T
        return (gate * gate.sigmoid() * up) @ self.weights[name.format(2)].T

    def experts(self, name: str, token: Tensor) -> Tensor:
        probabilities = (self.weights[name + "gate.weight"] @ token).softmax(-1)
        selected = probabilities.argsort(descending=True)[: self.config.top_k].tolist()
        total = sum(probabilities[e] for e in selected)
        return sum(probabilities[e] / total * self.mlp(f"{name}experts.{e}.w{{}}.weight", token) for e in selected)

    def attention(self, name: str, x: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        q, k, v = (x @ self.weights[f"{name}{part}_proj.weight"].T for part in "qkv")
        size, rows = self.config.head_dim, []
        shared = self.config.num_heads // self.config.num_kv_heads
        for t in range(len(x)):
            visible = [s for s in range(t + 1) if segments[s] == segments[t]]
            heads = []
            for head in range(self.config.num_heads):
                mine, theirs = slice(head * size, head * size + size), head // shared * size
                keys = torch.stack([self.turned(k[s, theirs : theirs + size], positions[s]) for s in visible])
                scores = keys @ self.turned(q[t, mine], positions[t]) / math.sqrt(size)
                heads.append(scores.softmax(-1) @ v[visible, theirs : theirs + size])
            rows.append(torch.cat(heads))
        return torch.stack(rows) @ self.weights[name + "o_proj.weight"].T

    def turned(self, head: Tensor, position: Tensor) -> Tensor:
        """As complex numbers: pair (i, i + half) times e^(i angle)."""
        half = len(head) // 2
        angles = position * self.config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        turned = torch.complex(head[:half], head[half:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag])


def test_logits_and_gradients_are_those_of_the_definition(model: ArcticModel) -> None:
    ids, positions, segments = batch()
    reference = Reference(model)
    expected = reference.logits(ids, positions, segments)
    logits = model(ids, positions, segments)
    torch.testing.assert_close(logits.double(), expected, atol=2e-5, rtol=1e-4)

    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (expected * weight).sum().backward()
    (logits * weight.float()).sum().backward()
    for name, gradient in gradients(model).items():
        required = reference.weights[name].grad
        required = torch.zeros_like(gradient).double() if required is None else required
        torch.testing.assert_close(gradient.double(), required, atol=2e-3, rtol=1e-3, msg=name)


@pytest.mark.parametrize("capacity_factor", [0.0, 0.75])
def test_layers_computed_again_change_no_bit(capacity_factor: float) -> None:
    result = []
    for policy in (ForwardPolicy(capacity_factor), ForwardPolicy(capacity_factor, "layer")):
        model = ArcticModel(CONFIG, seed=1)
        hidden, routing = model.hidden_states(*batch(), policy=policy)
        (hidden * torch.linspace(0, 1, hidden.numel()).view_as(hidden)).sum().backward()
        result.append([hidden, *routing[:3], *(p.grad for p in model.model.parameters())])
    assert all(torch.equal(remaining, again) for remaining, again in zip(*result, strict=True))


def gradients(model: ArcticModel) -> dict[str, Tensor]:
    for parameter in model.parameters():
        parameter.data = parameter.grad
    return dict(model.logical_tensors())


def test_documents_do_not_see_each_other_nor_their_place_in_the_row(model: ArcticModel) -> None:
    ids, positions, segments = batch()
    packed = model(ids, positions, segments)[0, 5:]
    alone = model(ids[:1, 5:], positions[:1, 5:], segments[:1, 5:])[0]
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_a_row_of_padding_gives_numbers(model: ArcticModel) -> None:
    ids = torch.zeros(2, 6, dtype=torch.long)
    segments = torch.tensor([[0] * 6, [-1] * 6], dtype=torch.int32)
    logits = model(ids, torch.arange(6).repeat(2, 1), segments)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_first_weights_do_not_depend_on_how_experts_are_split() -> None:
    from arctic_model.moe.dispatch import ExpertGroup

    whole = ArcticModel(CONFIG, seed=5)
    second = ArcticModel(CONFIG, ExpertGroup(size=2, rank=1), seed=5)
    for (name, mine), other in zip(second.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other[2:] if is_expert(name) else other), name


def test_first_weights_have_the_spread_of_the_config() -> None:
    model = ArcticModel(preset("tiny", {"vocab_size": 4096}), seed=0)
    assert float(model.model.embed_tokens.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert torch.equal(model.model.norm.weight, torch.ones(32))
