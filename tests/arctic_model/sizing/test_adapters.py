"""The size of a fine-tune that trains adapters, against the tensors that a model with adapters holds."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from arctic_model.sizing.adapters import adapter_memory, adapter_step_time, adapter_traffic, count_adapters
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.memory import memory_per_worker
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.step_time import GPUS, step_time
from arctic_model.training.lora import Lora, adapters, add_adapters

CONFIG = preset("tiny", {"num_layers": 3, "hidden_size": 160, "expert_size": 136})
SHAPES: list[dict[str, Any]] = [{}, {"layer_shape": "moe"}, {"num_experts": 0}, {"layer_shape": "shared"}]
LORAS = [
    Lora(rank=4),
    Lora(rank=3, targets=("attention", "experts"), quantize_base=True),
    Lora(rank=8, targets=("attention", "dense", "experts")),
    Lora(rank=8, quantize_base=True),
    Lora(rank=3, tokens=(2, 3, 5)),
]
THIRTY = ArcticConfig(
    vocab_size=151_936,
    hidden_size=2048,
    num_layers=48,
    num_heads=32,
    num_kv_heads=4,
    head_size=128,
    num_experts=128,
    top_k=8,
    expert_size=768,
    max_positions=4096,
    layer_shape="moe",
)
"""30 billion parameters, 3 of them active, as several released models have them."""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("lora", LORAS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_and_adapters_take_the_bytes_that_the_model_holds(
    shape: dict[str, Any], lora: Lora, workers: int
) -> None:
    config = replace(CONFIG, **shape)
    experts = workers if config.num_experts else 1
    parallel = ParallelConfig(workers, experts, 64, zero_stage=1)
    with torch.device("meta"):
        model = ArcticModel(config, ExpertGroup(experts))
        add_adapters(model, lora)
    model.bfloat16()

    memory = adapter_memory(config, parallel, lora)

    named = dict(model.named_parameters())
    held = {name: each.numel() * each.element_size() for name, each in named.items()}
    of_experts = sum(size for name, size in held.items() if ".experts." in name)
    assert memory.states.expert_weights == of_experts
    assert memory.states.dense_weights == sum(held.values()) - of_experts
    learning = sum(parameter.numel() for _, parameter in adapters(model))
    assert count_adapters(config, lora, experts).total == learning
    assert memory.states.dense_gradients + memory.states.expert_gradients == 4 * learning
    # float32 masters and two moments, in equal parts of the parameters that workers share.
    assert memory.states.master_weights + memory.states.moments >= 12 * learning / workers


def test_a_base_in_fp8_lets_thirty_billion_parameters_fit_on_one_gpu() -> None:
    assert 29e9 < count_parameters(THIRTY).total < 32e9
    parallel = ParallelConfig(1, 1, 4096, activation_checkpointing="layer")

    in_fp8 = adapter_memory(THIRTY, parallel, Lora(quantize_base=True, targets=("attention",)))

    assert in_fp8.fits(80e9)
    assert in_fp8.states.total < 32e9
    assert not memory_per_worker(THIRTY, parallel).fits(80e9)


def test_arctic_fits_on_a_node_of_eight_with_its_base_in_fp8() -> None:
    arctic, parallel = preset("arctic-480b"), ParallelConfig(8, 8, 2048, activation_checkpointing="layer")

    memory = adapter_memory(arctic, parallel, Lora(quantize_base=True))

    assert memory.fits(GPUS["h100"].memory_bytes)
    assert not adapter_memory(arctic, parallel, Lora()).fits(GPUS["h200"].memory_bytes)
    # The whole context of 4,096 tokens needs the larger GPU.
    longer = adapter_memory(arctic, replace(parallel, sequence_length=4096), Lora(quantize_base=True))
    assert not longer.fits(GPUS["h100"].memory_bytes)
    assert longer.fits(GPUS["h200"].memory_bytes)


def test_a_step_computes_no_gradient_of_frozen_weights_and_sends_adapters_alone() -> None:
    arctic, parallel = preset("arctic-480b"), ParallelConfig(8, 8, 4096)
    lora = Lora(rank=16)

    step, whole = (
        adapter_step_time(arctic, parallel, lora, GPUS["h200"], 0.4),
        step_time(arctic, parallel, GPUS["h200"], 0.4),
    )

    # Two products of three, scores and their use apart, and a little for the adapters.
    assert 0.66 < step.compute_s / whole.compute_s < 0.70
    adapters = count_adapters(arctic, lora).total
    sent = adapter_traffic(arctic, parallel, lora)
    assert sent.dense_gradients == pytest.approx(2 * 7 / 8 * adapters * 4)
    assert sent.expert_gradients == 0


def test_experts_that_workers_cannot_share_are_refused() -> None:
    with pytest.raises(ConfigError, match="expert_parallel_size"):
        adapter_memory(CONFIG, ParallelConfig(3, 3, 64), Lora())
