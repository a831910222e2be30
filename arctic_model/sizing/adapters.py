"""Memory and time of a fine-tune that trains adapters (LoRA) on frozen weights, by formula. No torch here.

A frozen parameter is a weight alone: no gradient, no master copy, no moments. Of a base in FP8 blocks, one matrix at a
time exists in the dtype of the products.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters, layer_matrices, num_mlps, training_flops_per_token
from arctic_model.sizing.memory import (
    Memory,
    States,
    has_masters,
    local_parameters,
    reduce_buckets,
    working,
)
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.reserve import reserve
from arctic_model.sizing.step_time import Gpu, StepTime, Traffic, step_time, traffic

FROZEN = ("embeddings", "attention", "dense", "router", "experts", "head")
"""Parts of a model with products, none of which learns."""
BLOCK = 128
"""Rows and columns of a block of FP8 values, which share a scale of 4 bytes."""
DEQUANTIZING_BYTES = 8
"""In addition to the result, per element of the matrix that is being dequantized: values and scales in float32."""


class Lora(Protocol):
    """The fields of `arctic_model.training.optimization.settings.Lora` that decide the size."""

    @property
    def rank(self) -> int: ...

    @property
    def targets(self) -> Collection[str]: ...

    @property
    def quantize_base(self) -> bool: ...

    @property
    def tokens(self) -> Collection[int]: ...


@dataclass(frozen=True)
class AdapterCount:
    """Parameters of the adapters on one worker: of attention and dense MLP with the rows of trained tokens, and of the
    experts that it holds."""

    dense: int
    experts: int

    @property
    def total(self) -> int:
        """Sum of both."""
        return self.dense + self.experts


def count_adapters(config: ArcticConfig, lora: Lora, expert_parallel_size: int = 1) -> AdapterCount:
    """Parameters of all adapters: r (D_in + D_out) for a matrix; gate and up of an expert share A. A trained token has
    a row in the embedding, and in the head unless that is tied."""
    dense = len(lora.tokens) * config.hidden_size * (1 if config.tied_head else 2)
    for number in range(config.num_layers):
        matrices = layer_matrices(config, number)
        adapted = matrices[:4] * ("attention" in lora.targets) + matrices[4:] * ("dense" in lora.targets)
        dense += sum(lora.rank * (rows + columns) for rows, columns in adapted)
    one = lora.rank * (2 * config.hidden_size + 3 * config.expert_size) if "experts" in lora.targets else 0
    return AdapterCount(dense, len(config.moe_layers) * config.num_experts // expert_parallel_size * one)


def adapter_memory(config: ArcticConfig, parallel: ParallelConfig, lora: Lora) -> Memory:
    """Bytes of one worker. Raises ConfigError if `config` cannot be trained like this."""
    parallel = replace(parallel, optimizer="adamw")
    parallel.validate(config)
    adapters, size = count_adapters(config, lora, parallel.expert_parallel_size), parallel.element_bytes
    frozen_dense, frozen_experts = _frozen_bytes(config, parallel, lora)
    owned = _owned(adapters, parallel)
    summed = owned if parallel.zero_stage >= 2 else adapters
    held = States(
        dense_weights=frozen_dense + size * adapters.dense,
        expert_weights=frozen_experts + size * adapters.experts,
        dense_gradients=parallel.gradient_bytes * summed.dense,
        expert_gradients=parallel.gradient_bytes * summed.experts,
        master_weights=4 * owned.total if has_masters(parallel) else 0,
        moments=8 * owned.total,
    )
    # The bucket is as large as the trained parameters, and nothing else is reduced.
    like_deepspeed = replace(parallel, engine="deepspeed", zero_stage=min(parallel.zero_stage, 2))
    full = working(config, like_deepspeed)
    buckets = reduce_buckets(sum(local_parameters(config, parallel)), like_deepspeed)
    added = replace(
        full,
        activations=full.activations + _adapter_activations(config, parallel, lora),
        layer_backward=full.layer_backward + _dequantized_bytes(config, parallel, lora),
        communication_buffers=full.communication_buffers - buckets + reduce_buckets(adapters.total, like_deepspeed),
        update=(4 + size) * max(owned.dense, owned.experts) if parallel.zero_stage else 0,
    )
    groups = parallel.num_workers, parallel.expert_parallel_size, parallel.context_parallel_size
    beside = reserve(held.total + added.peak, *groups)
    return Memory(held, added, 12 * _owned(adapters, replace(parallel, zero_stage=2, shard_group_size=0)).total, beside)


def adapter_traffic(config: ArcticConfig, parallel: ParallelConfig, lora: Lora) -> Traffic:
    """Bytes sent per step and worker: rows to and from the experts as in any training, and of gradients and weights
    those of the adapters. Raises ConfigError."""
    whole = traffic(config, replace(parallel, optimizer="adamw"))
    adapters = count_adapters(config, lora, parallel.expert_parallel_size)
    dense, experts = local_parameters(config, parallel)
    of_dense, of_experts = adapters.dense / dense, adapters.experts / max(1, experts)
    return replace(
        whole,
        dense_gradients=whole.dense_gradients * of_dense,
        expert_gradients=whole.expert_gradients * of_experts,
        dense_weights=whole.dense_weights * of_dense,
        expert_weights=whole.expert_weights * of_experts,
    )


def adapter_step_time(
    config: ArcticConfig, parallel: ParallelConfig, lora: Lora, gpu: Gpu, efficiency: float
) -> StepTime:
    """One step: products without the gradients of frozen weights, and with those of the adapters. Traffic and updates
    shrink with the number of trained parameters. Raises ValueError."""
    whole = step_time(config, replace(parallel, optimizer="adamw"), gpu, efficiency)
    peak, tokens = gpu.peak_flops(parallel.dtype), parallel.tokens * parallel.num_micro_batches
    # An adapter of an expert meets the rows of top_k of all.
    adapters = count_adapters(config, lora)
    active = adapters.dense + adapters.experts * config.top_k // max(1, config.num_experts)
    full = training_flops_per_token(config, parallel.sequence_length)
    flops = training_flops_per_token(config, parallel.sequence_length, FROZEN) + 6 * active
    trained = adapters.total / count_parameters(config).total
    parts = {
        "compute_s": whole.compute_s - tokens * (full - flops) / peak / efficiency,
        "exposed_exchange_s": whole.exposed_exchange_s,
        "gradients_s": whole.gradients_s * trained,
        "weights_s": whole.weights_s * trained,
        "update_s": whole.update_s * trained,
        "shared_keys_s": whole.shared_keys_s,
    }
    return StepTime(**parts, tokens=parallel.tokens_per_step, mfu=tokens * flops / peak / sum(parts.values()))


def _owned(adapters: AdapterCount, parallel: ParallelConfig) -> AdapterCount:
    """Adapters that one worker updates."""
    dense, experts = parallel.dense_shards, parallel.expert_shards
    return AdapterCount(math.ceil(adapters.dense / dense), math.ceil(adapters.experts / experts))


def _frozen_bytes(config: ArcticConfig, parallel: ParallelConfig, lora: Lora) -> tuple[int, int]:
    """Of the dense weights and of the experts that one worker holds. Embeddings, head, norms and routers are in the
    dtype of the products in any case."""
    dense, experts = local_parameters(config, parallel)
    size = parallel.element_bytes
    if not lora.quantize_base:
        return size * dense, size * experts
    matrices = [shape for number in range(config.num_layers) for shape in layer_matrices(config, number)]
    others = dense - sum(rows * columns for rows, columns in matrices)
    local = len(config.moe_layers) * config.num_experts // parallel.expert_parallel_size
    each = sum(_fp8_bytes(rows, columns) for rows, columns in _expert_matrices(config))
    return size * others + sum(_fp8_bytes(*shape) for shape in matrices), local * each


def _expert_matrices(config: ArcticConfig) -> list[tuple[int, int]]:
    return [(config.expert_size, config.hidden_size)] * 2 + [(config.hidden_size, config.expert_size)]


def _fp8_bytes(rows: int, columns: int) -> int:
    return rows * columns + 4 * math.ceil(rows / BLOCK) * math.ceil(columns / BLOCK)


def _dequantized_bytes(config: ArcticConfig, parallel: ParallelConfig, lora: Lora) -> int:
    """The largest matrix of the layers, or stack of a worker's experts, in the dtype of the products."""
    if not lora.quantize_base:
        return 0
    local = config.num_experts // parallel.expert_parallel_size
    one = config.expert_size * config.hidden_size
    single = max(rows * columns for rows, columns in layer_matrices(config, 0))
    return max(local * one, single) * parallel.element_bytes + DEQUANTIZING_BYTES * max(one, single)


def _adapter_activations(config: ArcticConfig, parallel: ParallelConfig, lora: Lora) -> int:
    """Activations between the two matrices of each adapter, for backward: all layers, or with their checkpoints one."""
    linears = 4 * config.num_layers * ("attention" in lora.targets) + 3 * num_mlps(config) * ("dense" in lora.targets)
    rows = 2 * config.top_k * len(config.moe_layers) * ("experts" in lora.targets)
    layers = config.num_layers if parallel.activation_checkpointing == "layer" else 1
    return parallel.element_bytes * parallel.tokens * lora.rank * (linears + rows) // layers
