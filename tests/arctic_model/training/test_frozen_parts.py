"""Frozen parts of a model: their values stay to the bit, and the rest trains as if they were constants."""

import itertools
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from arctic_model.checkpoint.reading import Checkpoint
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.sizing.flops import forward_flops_per_token, training_flops_per_token
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import MODEL_PARTS, Optimization
from data_recipes.sections import training
from tests.arctic_model.training.test_distributed_training import digests, job, losses, run_workers

CONFIG = preset("tiny", {"qk_norm": True, "learned_sinks": True})
PIECES = {
    "embeddings": ["embed_tokens.weight"],
    "attention": ["q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight", "self_attn.sinks"],
    "dense": [f"residual_mlp.w{number}.weight" for number in (1, 2, 3)],
    "router": ["gate.weight"],
    "experts": [f"experts.w{number}" for number in (1, 2, 3)],
    "norms": ["norm.weight"],
    "head": ["lm_head.weight"],
}
"""Ends of the parameters' names, by part."""
Values = dict[tuple[str, str], Tensor]


def is_frozen(name: str, freeze: tuple[str, ...]) -> bool:
    return any(name.endswith(piece) for part in freeze for piece in PIECES[part])


def new_engine(**settings: Any) -> Engine:
    return Engine(CONFIG, Optimization(gradient_clip=0.5, **settings), 1, 1, training_loss)


def batch(step: int) -> tuple[Batch, Scale]:
    ids = torch.randint(0, 60, (2, 17), generator=torch.Generator().manual_seed(step))
    packed = Batch(ids[:, :-1], torch.arange(16).repeat(2, 1), torch.zeros(2, 16, dtype=torch.int32), ids[:, 1:])
    return packed._replace(corpora=torch.ones(1, 2, dtype=torch.bool)), Scale(32.0, 32.0, torch.full((2, 4), 0.5))


def train_steps(engine: Engine, *steps: int) -> None:
    for step in steps:
        engine.backward(engine.forward(*batch(step), engine._settings)[0])
        engine.step(0.01, engine.gradient_norm())


def values(engine: Engine) -> Values:
    """Weights and optimizer state of every parameter, each a whole of one slice on one worker."""
    slices = [*engine.parameter_slices(), *engine.frozen_slices()]
    return {(part.name, part.kind): part.values.clone() for part in slices}


def loaded(source: Values, updates: int, **settings: Any) -> Engine:
    engine = new_engine(**settings)
    engine.load(updates, lambda name, kind, start, length: source[name, kind][start : start + length])
    return engine


class Reference:
    """AdamW as torch has it, over the parameters of a whole model that require a gradient. Its bias correction counts
    the updates of the run, even if parameters were frozen in some of them."""

    def __init__(self) -> None:
        self.updates = 0
        self.model = ArcticModel(CONFIG, seed=0)
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": 0.1}, {"params": [], "weight_decay": 0.0}]
        for parameter in self.model.parameters():
            groups[parameter.dim() == 1]["params"].append(parameter)
        self.optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))

    def train(self, step: int, freeze: tuple[str, ...]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not is_frozen(name, freeze))
        training_loss(self.model, *batch(step), Optimization())[0].backward()
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained, 0.5)
        for state in self.optimizer.state.values():
            state["step"].fill_(self.updates)
        self.optimizer.step()
        self.updates += 1

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().flatten() for name, parameter in self.model.named_parameters()}


def test_recipes_name_the_parts_of_the_model() -> None:
    assert get_args(training.ModelPart) == MODEL_PARTS == tuple(PIECES)


@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize("kind", ["deepspeed", "flat"])
@pytest.mark.parametrize("freeze", [*((part,) for part in PIECES), ("embeddings", "attention", "norms", "router")])
def test_what_is_not_frozen_trains_as_with_torch_alone(freeze: tuple[str, ...], kind: Any) -> None:
    """Two steps of all, two with frozen parts, two of all again, each of another engine."""
    reference, state = Reference(), values(new_engine())
    for number, frozen in enumerate([(), freeze, ()]):
        engine = loaded(state, 2 * number, freeze=frozen, engine=kind)
        steps = (2 * number + 1, 2 * number + 2)
        train_steps(engine, *steps)
        before, state = state, values(engine)
        for step in steps:
            reference.train(step, frozen)
        engine.close()
        assert_frozen(before, state, frozen)
    for name, weights in reference.weights().items():
        torch.testing.assert_close(state[name, "weight"], weights, rtol=1e-4, atol=2e-5, msg=name)


def assert_frozen(before: Mapping[tuple[str, str], Tensor], after: Values, freeze: tuple[str, ...]) -> None:
    assert before.keys() == after.keys()
    for (name, kind), result in after.items():
        assert torch.equal(result, before[name, kind]) == is_frozen(name, freeze), (name, kind)


@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize(
    ("kind", "dtype", "zero_stage", "optimizer"),
    [
        *(("deepspeed", "float32", stage, "muon") for stage in (0, 2)),
        *(("deepspeed", "bfloat16", stage, optimizer) for stage, optimizer in ((1, "muon"), (2, "adamw"))),
        *(("flat", "float32", 0, "muon"), ("flat", "bfloat16", 2, "adamw")),
    ],
)
def test_frozen_values_stay_to_the_bit_in_every_precision(
    kind: Any, dtype: Any, zero_stage: Any, optimizer: Any
) -> None:
    """Float32 values that bfloat16 cannot hold come back as they were."""
    settings = {"engine": kind, "dtype": dtype, "zero_stage": zero_stage, "optimizer": optimizer}
    started = loaded(values(new_engine(optimizer=optimizer)), 0, optimizer=optimizer)
    train_steps(started, 1, 2)
    state = values(started)
    engine = loaded(state, 2, **settings, freeze=("attention", "experts", "head"))
    train_steps(engine, 3)
    assert_frozen(state, values(engine), ("attention", "experts", "head"))
    engine.close()
    started.close()


@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize("kind", ["deepspeed", "flat"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_that_are_frozen_from_the_first_step_have_drawn_weights_and_no_moments(dtype: Any, kind: Any) -> None:
    settings = Optimization(engine=kind, dtype=dtype, freeze=("router", "dense"))
    engine = Engine(CONFIG, settings, 1, 1, training_loss, drawn=False)
    engine.draw()
    train_steps(engine, 1)
    drawn = ArcticModel(CONFIG, seed=0).to(getattr(torch, dtype))
    frozen = {(part.name, part.kind): part.values for part in engine.frozen_slices()}
    assert {name for name, _ in frozen} == {
        name for name, _ in drawn.named_parameters() if is_frozen(name, ("router", "dense"))
    }
    for (name, kind), result in frozen.items():
        expected = drawn.get_parameter(name).detach().float().flatten()
        assert torch.equal(result, expected if kind == "weight" else torch.zeros_like(expected)), (name, kind)
    engine.close()


@pytest.mark.usefixtures("one_worker")
def test_no_gradient_and_no_state_of_a_frozen_part_is_on_the_device() -> None:
    engine = new_engine(freeze=("experts", "embeddings"), zero_stage=1)
    train_steps(engine, 1)
    trained = sum(
        each.numel() for name, each in engine.model.named_parameters() if not is_frozen(name, ("experts", "embeddings"))
    )
    held = sum(state["exp_avg"].numel() for state in engine._backend._optimizer.state.values())
    assert trained <= held < trained + 64, "but for the padding of DeepSpeed's flat groups"
    for name, parameter in engine.model.named_parameters():
        assert not is_frozen(name, ("experts", "embeddings")) or parameter.grad is None
    engine.close()


ROUTING = {"routing": {"freeze": ["router", "experts"], "balance_bias_rate": 0.01}, "model": {"router_bias": True}}
DENSE = {"routing": {"freeze": ["attention", "norms", "embeddings"]}}
RUNS = {"routing": ROUTING, "dense": DENSE, "muon": DENSE | {"optimizer": "muon", "dtype": "bfloat16"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On one worker, and on two that share the experts; `moved` begins on two and ends on one."""
    home = tmp_path_factory.mktemp("frozen")
    of_two = [job(home / f"{name}_two", experts=2, zero=1, **settings) for name, settings in RUNS.items()]
    begun = job(home / "moved", experts=2, zero=2, **DENSE | {"steps": 6}, engine="flat")
    assert run_workers(home / "2", 2, *of_two, begun) == [0, 0]
    of_one = [job(home / f"{name}_one", zero=1, **settings) for name, settings in RUNS.items()]
    assert run_workers(home / "1", 1, *of_one, job(home / "moved", zero=0, **DENSE)) == [0]
    return home


@pytest.mark.parametrize(
    ("name", "like"), [("routing_two", "routing_one"), ("dense_two", "dense_one"), ("moved", "dense_one")]
)
def test_workers_that_share_experts_have_the_curve_of_one(trained: Path, name: str, like: str) -> None:
    assert losses(trained / name) == pytest.approx(losses(trained / like), abs=2e-6, rel=0)
    assert losses(trained / name)[-1] < losses(trained / name)[0] - 0.1


@pytest.mark.parametrize("name", [f"{run}_{workers}" for run, workers in itertools.product(RUNS, ("one", "two"))])
def test_frozen_tensors_of_a_checkpoint_are_the_drawn_ones(trained: Path, name: str) -> None:
    settings = RUNS[name.split("_")[0]]
    freeze, dtype = tuple(settings["routing"]["freeze"]), getattr(torch, settings.get("dtype", "float32"))
    checkpoint = Checkpoint(sorted((trained / name / "checkpoints").iterdir())[-1]).verify()
    drawn = ArcticModel(checkpoint.config, seed=0).to(dtype)
    for parameter, tensor in drawn.named_parameters():
        result = checkpoint.read_slice(parameter, "weight", 0, tensor.numel())
        assert torch.equal(result, tensor.detach().float().flatten()) == is_frozen(parameter, freeze), parameter
    for bias, start in drawn.named_buffers():
        assert torch.equal(checkpoint.read(bias), start), "biases belong to the router"


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_with_frozen_parts_continues_bit_for_bit(trained: Path, tmp_path: Path, name: str) -> None:
    settings = {"experts": 2, "zero": 1, **RUNS[name]}
    assert run_workers(tmp_path / "first", 2, job(tmp_path / "run", **settings, kill_at=10))[-1] == -signal.SIGKILL
    assert run_workers(tmp_path / "second", 2, job(tmp_path / "run", **settings)) == [0, 0]
    assert digests(tmp_path / "run") == digests(trained / f"{name}_two")


def test_flops_leave_out_the_gradients_of_frozen_weights() -> None:
    """By the definition: a third product for every matrix but the frozen ones; scores have no weights."""
    forward = forward_flops_per_token(CONFIG, 16)
    whole, scores = training_flops_per_token(CONFIG, 16), CONFIG.num_layers * 2 * 16 * CONFIG.query_size
    assert whole == 3 * forward.total
    assert training_flops_per_token(CONFIG, 16, ("experts", "head")) == whole - forward.experts - forward.head
    assert training_flops_per_token(CONFIG, 16, ("norms", "embeddings")) == whole
    assert training_flops_per_token(CONFIG, 16, MODEL_PARTS) == 2 * forward.total + scores
