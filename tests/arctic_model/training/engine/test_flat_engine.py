"""The flat engine gives the same result as DeepSpeed for every shape of model; several workers:
test_distributed_training."""

from typing import Any

import pytest
import torch
from torch import Tensor

from arctic_model.config import ConfigError
from arctic_model.presets import preset
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Lora, Optimization, Tuning

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hybrid": ({}, {"activation_checkpointing": "selective"}),
    "tied head": ({"tied_head": True}, {"optimizer": "muon"}),
    "dense": ({"num_experts": 0}, {"zero_stage": 2}),
    "shared expert": ({"layer_shape": "shared", "qk_norm": True}, {"optimizer": "muon", "zero_stage": 2}),
    "learned sinks": ({"learned_sinks": True}, {"optimizer": "muon"}),
    "experts alone": ({"layer_shape": "moe"}, {"activation_checkpointing": "layer"}),
    "adapters": ({"learned_sinks": True}, {"tuning": Tuning(lora=Lora(rank=2, targets=("attention", "experts")))}),
    "frozen embeddings": ({}, {"freeze": ("embeddings", "router"), "capacity_factor": 1.0}),
}
"""Overrides of the preset, and settings."""


def batch(step: int) -> Batch:
    ids = torch.randint(0, 60, (2, 17), generator=torch.Generator().manual_seed(step))
    segments = torch.zeros(2, 16, dtype=torch.int32)
    segments[1, 12:] = -1
    return Batch(ids[:, :-1], torch.arange(16).repeat(2, 1), segments, ids[:, 1:])


def trained(kind: Any, overrides: dict[str, Any], settings: dict[str, Any]) -> dict[tuple[str, str], Tensor]:
    """Weights and optimizer state after two steps of two passes each."""
    config, optimization = preset("tiny", overrides), Optimization(engine=kind, **settings)
    engine = Engine(config, optimization, 1, 2, training_loss)
    scale = Scale(56.0, 56.0, torch.full((len(config.moe_layers), config.num_experts), 0.5))
    for step in range(2):
        for number in range(2):
            if number:
                engine.end_micro_batch()
            engine.backward(engine.forward(batch(2 * step + number), scale, optimization)[0])
        engine.step(0.01, engine.gradient_norm())
    values = {(part.name, part.kind): part.values.clone() for part in engine.parameter_slices()}
    engine.close()
    return values


@pytest.mark.parametrize("shape", SHAPES)
def test_both_engines_train_the_same(shape: str) -> None:
    expected, result = (trained(kind, *SHAPES[shape]) for kind in ("deepspeed", "flat"))
    assert result.keys() == expected.keys()
    for (name, kind), values in expected.items():
        torch.testing.assert_close(result[name, kind], values, rtol=1e-4, atol=1e-6, msg=f"{name} {kind}")


def test_what_the_engines_cannot_split_is_refused() -> None:
    for settings, message in (
        ({"zero_stage": 3}, "zero_stage = 3 with engine = 'deepspeed'"),
        ({"engine": "flat", "shard_group_size": 2}, "shard_group_size = 2 does not divide num_workers = 1"),
        ({"engine": "flat", "zero_stage": 0, "dtype": "bfloat16"}, "has no float32 master weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            Engine(preset("tiny"), Optimization(**settings), 1, 1, training_loss)
