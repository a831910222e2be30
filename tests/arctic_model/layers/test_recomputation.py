"""Selective checkpointing keeps less, makes no product again, and changes no bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from arctic_model.config import ArcticConfig
from arctic_model.layers.recomputation import recomputed, selective_recomputation
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.sizing.activations import layer_activation_bytes
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization

FIELDS = {"hidden_size": 64, "num_layers": 3, "init_std": 0.2}
CONFIG = preset("tiny", FIELDS)
CONFIGS = {
    "arctic": CONFIG,
    "dense": preset("tiny", FIELDS | {"num_experts": 0, "tied_head": True}),
    "shared expert": preset("tiny", FIELDS | {"layer_shape": "shared", "qk_norm": True, "learned_sinks": True}),
    "every second layer": preset("tiny", FIELDS | {"layer_shape": "moe", "moe_layer_frequency": 2, "qkv_bias": True}),
}
POLICIES = ("none", "selective", "layer")
SHAPE = (2, 48)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which pad no rows of experts."""
    monkeypatch.setattr("arctic_model.kernels.row_groups.PADDED", set())


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> ArcticConfig:
    selected: ArcticConfig = request.param
    return selected


def model_of(config: ArcticConfig, dtype: str) -> ArcticModel:
    model = ArcticModel(config, seed=0)
    return model.to(getattr(torch, dtype))


def loss_of(model: ArcticModel, policy: Any) -> Tensor:
    ids = torch.randint(0, CONFIG.vocab_size, SHAPE, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(SHAPE[1]).repeat(SHAPE[0], 1)
    batch = Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids)
    scale = Scale(1.0, 1.0, torch.ones(len(model.config.moe_layers), model.config.num_experts))
    return training_loss(model, batch, scale, Optimization(activation_checkpointing=policy, z_loss_coefficient=0.1))[0]


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    count = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "mm" in function.name()
        return function(*args, **(kwargs or {}))


@DTYPES
def test_no_bit_changes_and_no_product_is_made_again(config: ArcticConfig, dtype: str) -> None:
    products, gradients = {}, {}
    for policy in POLICIES:
        model = model_of(config, dtype)
        with Products() as counter:
            loss_of(model, policy).backward()
        products[policy] = counter.count
        gradients[policy] = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert products["none"] == products["selective"] < products["layer"]
    for policy in POLICIES[1:]:
        changed = [
            name for name in gradients["none"] if not torch.equal(gradients[policy][name], gradients["none"][name])
        ]
        assert changed == []


@DTYPES
def test_what_is_held_for_backward_is_less_by_what_the_formula_says(config: ArcticConfig, dtype: Any) -> None:
    held = {policy: held_bytes(config, dtype, policy) for policy in POLICIES}
    parallel = ParallelConfig(1, 1, *SHAPE[::-1], zero_stage=1, dtype=dtype)
    whole, less = (
        sum(layer_activation_bytes(config, replace(parallel, activation_checkpointing=policy), n) for n in range(3))
        for policy in ("none", "selective")
    )
    assert held["none"] - held["selective"] == whole - less > 0.1 * held["none"]
    assert held["layer"] < held["selective"]


def held_bytes(config: ArcticConfig, dtype: str, policy: str) -> int:
    """Bytes that the allocator has given out and not taken back between forward and backward."""
    model = model_of(config, dtype)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        loss = loss_of(model, policy)
    events = profiled.profiler.kineto_results.events()
    assert loss.requires_grad
    return sum(event.nbytes() for event in events if event.name() == "[memory]")


def test_a_tensor_is_made_again_once_for_all_that_keep_it_or_what_follows_from_it() -> None:
    calls = []

    def doubled(x: Tensor) -> Tensor:
        calls.append("doubled")
        return x * 2

    def squared(x: Tensor) -> Tensor:
        calls.append("squared")
        return x * x

    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with selective_recomputation():
        twice = recomputed(doubled, x)
        square = recomputed(squared, twice)
        result = (twice * twice.flip(0) + square.exp() * square).sum()
    assert calls == ["doubled", "squared"]
    result.backward()
    assert calls[2:].count("doubled") == 1
    assert calls[2:].count("squared") == 1
    again = x.detach().clone().requires_grad_()
    (again * 2 * (again * 2).flip(0) + ((again * 2) ** 2).exp() * (again * 2) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


def test_outside_everything_is_kept() -> None:
    calls = []

    def doubled(x: Tensor) -> Tensor:
        calls.append("doubled")
        return x * 2

    x = torch.ones(3, requires_grad=True)
    (recomputed(doubled, x) ** 2).sum().backward()
    assert calls == ["doubled"]
