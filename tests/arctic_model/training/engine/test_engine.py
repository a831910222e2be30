"""DeepSpeed's faults that the engine works round: each is shown as it is in DeepSpeed, and gone in the engine."""

import importlib
import math
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import is_expert
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from arctic_model.training.engine import Engine, deepspeed_backend, deepspeed_setup
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.optimizer import GroupedOptimizer, new_optimizer
from arctic_model.training.optimization.settings import Optimization

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def deepspeed() -> ModuleType:
    """As the engine imports it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    module = deepspeed_setup.import_deepspeed()
    dist.destroy_process_group()
    return module


def new_engine(**settings: Any) -> Engine:
    return Engine(CONFIG, Optimization(**settings), 1, 1, training_loss)


def take_step(engine: Engine) -> None:
    ids = torch.arange(32).view(2, 16)
    batch = Batch(ids, torch.arange(16).repeat(2, 1), torch.zeros(2, 16, dtype=torch.int32), ids + 1)
    loss, _ = engine.forward(batch, Scale(32.0, 32.0, torch.zeros(2, 4)), engine._settings)
    engine.backward(loss)
    engine.step(0.01, engine.gradient_norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_a_large_gradient_is_that_of_float64(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case in which a sum in float32 alone would be wrong by 1e-4."""
    large = torch.randn(2**22, generator=torch.Generator().manual_seed(0)).to(dtype)
    gradients = [(0.5, large), (1.0, large[:7].view(7, 1)), (1.0, large[:0])]
    engine = new_engine()
    monkeypatch.setattr(engine._backend, "gradients", lambda: iter(gradients))
    expected = sum(share * gradient.double().square().sum() for share, gradient in gradients).sqrt()
    assert engine.gradient_norm() == pytest.approx(float(expected), rel=1e-5)
    large[12345] = torch.nan
    assert math.isnan(engine.gradient_norm())
    engine.close()


class LazyOptimizer(GroupedOptimizer):
    """Creates the states of parameters at their first step, as torch's optimizers do."""

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if not self.state[parameter]:
                    self.state[parameter] = {
                        "step": torch.zeros(()),
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }
        super().step()


def test_states_made_in_the_first_step_are_linked_for_the_first_group_only(
    deepspeed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lazy(*arguments: Any) -> LazyOptimizer:
        made = new_optimizer(*arguments)
        made.__class__ = LazyOptimizer
        return made

    with monkeypatch.context() as patch:
        patch.setattr(deepspeed_backend, "new_optimizer", lazy)
        patch.setattr(GroupedOptimizer, "zero_states", lambda _: None)
        patch.setattr(deepspeed_setup, "link_states", lambda _: None)
        broken = new_engine()
        take_step(broken)
    named = dict(broken.model.named_parameters())
    state = deepspeed.utils.safe_get_full_optimizer_state
    assert state(named["lm_head.weight"], "exp_avg").any()
    expert = next(parameter for name, parameter in named.items() if is_expert(name))
    with pytest.raises(ValueError, match="exp_avg not found"):
        state(expert, "exp_avg")

    mended = new_engine()
    take_step(mended)
    for parameter in mended.model.parameters():
        assert state(parameter, "exp_avg") is not None


RATE_FACTORS = {
    "embed_tokens": "embedding_lr_factor",
    "lm_head": "head_lr_factor",
    ".gate.": "gate_lr_factor",
    "norm.weight": "norm_lr_factor",
}


def changes(**settings: Any) -> dict[str, Tensor]:
    """The change of each parameter in one step."""
    engine = new_engine(weight_decay=0.0, **settings)
    before = {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}
    take_step(engine)
    after = {name: parameter.detach() - before[name] for name, parameter in engine.model.named_parameters()}
    engine.close()
    return after


@pytest.mark.parametrize("zero_stage", [0, 2])
@pytest.mark.parametrize(("part", "field"), RATE_FACTORS.items())
def test_a_rate_factor_scales_the_steps_of_its_parameters_alone(part: str, field: str, zero_stage: Any) -> None:
    whole = changes(optimizer="muon", zero_stage=zero_stage)
    for name, change in changes(optimizer="muon", zero_stage=zero_stage, **{field: 0.25}).items():
        factor = 0.25 if part in name else 1.0
        torch.testing.assert_close(change, factor * whole[name], rtol=1e-3, atol=1e-6, msg=name)
        assert whole[name].any(), name


@pytest.mark.parametrize("field", RATE_FACTORS.values())
def test_rate_factors_mean_nothing_without_muon(field: str) -> None:
    whole = changes(optimizer="adamw")
    for name, change in changes(optimizer="adamw", **{field: 0.25}).items():
        assert torch.equal(change, whole[name]), name


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_experts_without_a_marker_are_not_understood(zero_stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed_setup, "marker", lambda *_: nn.Identity())
    with pytest.raises((KeyError, TypeError, AttributeError)):
        take_step(new_engine(zero_stage=zero_stage))


def test_its_start_would_run_a_compiler(deepspeed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    communication = importlib.import_module("deepspeed.comm.torch")
    asked: list[str] = []
    builder = importlib.import_module("deepspeed.ops.op_builder.builder").OpBuilder
    monkeypatch.setattr(builder, "load", lambda self, *_: asked.append(self.NAME))
    communication.build_shm_op()
    assert asked == []
    monkeypatch.setitem(vars(deepspeed.ops)["__compatible_ops__"], "deepspeed_shm_comm", True)
    communication.build_shm_op()
    assert asked == ["deepspeed_shm_comm"]


def test_its_bucket_for_gradients_is_large_however_small_the_model(deepspeed: ModuleType) -> None:
    assert deepspeed.runtime.zero.config.DeepSpeedZeroConfig().reduce_bucket_size == 500_000_000
    engine = new_engine(zero_stage=2)
    num_parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    assert engine._backend.zero.reduce_bucket_size == num_parameters


def test_a_whole_gradient_is_clipped_by_its_norm() -> None:
    """By the definition, in float64."""
    engine = new_engine(zero_stage=0, gradient_clip=0.1)
    scaled: list[Tensor] = []
    plain_step = engine._backend._optimizer.step

    def step() -> None:
        norm = torch.stack([copy.grad.double().square().sum() for copy in expected]).sum().sqrt()
        assert norm > 0.1
        for copy in expected:
            copy.grad *= 0.1 / float(norm)
        scaled.extend(
            parameter.grad * engine._backend._optimizer.param_groups[0]["gradient_scale"] for parameter in parameters
        )
        plain_step()

    parameters = list(engine.model.parameters())
    expected = [nn.Parameter(torch.zeros_like(parameter)) for parameter in parameters]
    engine._backend._optimizer.step = step  # type: ignore[method-assign]
    for parameter, copy in zip(parameters, expected, strict=True):
        parameter.register_post_accumulate_grad_hook(lambda p, copy=copy: setattr(copy, "grad", p.grad.clone()))
    take_step(engine)
    for result, copy in zip(scaled, expected, strict=True):
        torch.testing.assert_close(result, copy.grad, rtol=1e-5, atol=1e-8)


def test_arrangements_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(ValueError, match="expert_parallel_size = 2 does not divide num_workers = 1. Choose a divisor"):
        Engine(CONFIG, Optimization(), 2, 1, training_loss)
    with pytest.raises(ValueError, match="zero_stage = 0 with dtype = 'bfloat16' has no float32 master weights"):
        new_engine(zero_stage=0, dtype="bfloat16")
    with pytest.raises(ValueError, match="expert_parallel_size = 3 does not divide num_experts = 4"):
        ArcticModel(CONFIG, ExpertGroup(3))


@pytest.mark.parametrize(("dtype", "zero_stage"), [("float32", 0), ("float32", 1), ("bfloat16", 1), ("bfloat16", 2)])
def test_weights_drawn_where_they_are_trained_are_those_of_the_seed(dtype: Any, zero_stage: Any) -> None:
    """Bit for bit the random weights of the model alone, as DeepSpeed takes it over."""
    settings = Optimization(dtype=dtype, zero_stage=zero_stage, seed=3)
    whole = ArcticModel(CONFIG, seed=3).to(getattr(torch, dtype))
    early, late = (Engine(CONFIG, settings, 1, 1, training_loss, drawn=drawn) for drawn in (True, False))
    late.draw()
    for engine in (early, late):
        for name, parameter in engine.model.named_parameters():
            assert torch.equal(parameter, whole.get_parameter(name)), name
    for one, other in zip(early.parameter_slices(), late.parameter_slices(), strict=True):
        assert one[:3] == other[:3]
        assert torch.equal(one.values, other.values)
    late.close()
    early.close()
