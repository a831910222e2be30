"""Memory and speed of decoding on GPUs that share every layer (tensor parallelism), by formula. No torch here.

A step adds a token to each of B sequences. It reads the weights once and each sequence's keys and values, so at small
batches its time is that of memory:

    bytes = dense weights + layers * E (1 - (1 - K/E)^B) * expert + B * context * keys and values
    time  = max(bytes / (N * bandwidth * BANDWIDTH_SHARE), 2 * B * active / (N * peak * mfu)) + kernels + all-reduces

The experts in the sum are those that B tokens choose on average. docs/explanation/sizing.md has the sources of the
constants, and compares the result with published figures.
"""

from dataclasses import dataclass
from typing import Literal

from arctic_model.config import ArcticConfig, ConfigError
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.step_time import GPUS_PER_NODE, Gpu

WeightDtype = Literal["bfloat16", "fp8"]
WEIGHT_BYTES = {"bfloat16": 2.0, "fp8": 1.0 + 4 / 128**2}
"""Of a number in a matrix; fp8 has a float32 scale for each block of 128 x 128."""
EXACT_BYTES = CACHE_BYTES = 2
"""bfloat16: of the embedding, the head, norms and gates in both, and of keys and values."""
USABLE_SHARE = 0.9
"""Of a GPU's memory, for weights and cache: vLLM's default `gpu_memory_utilization`."""
BANDWIDTH_SHARE = 0.62
"""Of the data sheet's bandwidth: gpt-fast's Mixtral in int8 on one A100."""
KERNELS_PER_LAYER, KERNEL_S = 13, 1.3e-6
"""Fused kernels of a layer, and the time between two of them in a CUDA graph (Hazy Research, May 2025)."""
ALL_REDUCES_PER_LAYER, ALL_REDUCE_S = 2, 24e-6
"""Behind attention and behind the MLPs; each the time that is left of gpt-fast's Mixtral on 8 A100s."""


@dataclass(frozen=True)
class Inference:
    """A model on GPUs that decode together.

    Args:
        config: the model.
        gpu: the kind of GPU.
        num_gpus: N, of one node.
        dtype: of the weights.
        context: tokens of a sequence, with its answer.

    Raises:
        ConfigError: if the GPUs are more than one node has, or do not divide the query heads.
    """

    config: ArcticConfig
    gpu: Gpu
    num_gpus: int
    dtype: WeightDtype
    context: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_gpus <= GPUS_PER_NODE or self.config.num_heads % self.num_gpus:
            raise ConfigError(
                "{num_gpus}: must divide {num_heads} and be at most the GPUs of one node, 8. Change the value.",
                num_gpus=self.num_gpus,
                num_heads=self.config.num_heads,
            )
        if not 1 <= self.context <= self.config.max_positions:
            raise ConfigError(
                "{context}: must be 1 or more and at most {max_positions}. Change the value.",
                context=self.context,
                max_positions=self.config.max_positions,
            )

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        counts = count_parameters(self.config)
        return (counts.total - self._exact) * WEIGHT_BYTES[self.dtype] + self._exact * EXACT_BYTES

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token. GPUs beyond the key-value heads hold copies."""
        copies = max(self.num_gpus / self.config.num_kv_heads, 1)
        return int(self.config.num_layers * 2 * self.config.key_size * CACHE_BYTES * copies)

    @property
    def cache_room_bytes(self) -> float:
        """Bytes that all GPUs leave for keys and values; negative if the weights do not fit."""
        return self.num_gpus * self.gpu.memory_bytes * USABLE_SHARE - self.weight_bytes

    @property
    def max_sequences(self) -> int:
        """Sequences of full context that fit at a time; 0 if none does."""
        return max(int(self.cache_room_bytes // (self.context * self.cache_bytes_per_token)), 0)

    def step_bytes(self, batch: int) -> float:
        """Bytes that all GPUs read to add a token to each of `batch` sequences of full context."""
        counts, config = count_parameters(self.config), self.config
        looked_up = 0 if config.tied_head else config.vocab_size * config.hidden_size
        dense = (counts.dense - self._exact) * WEIGHT_BYTES[self.dtype] + (self._exact - looked_up) * EXACT_BYTES
        share = 1 - (1 - config.top_k / config.num_experts) ** batch if config.num_experts else 0.0
        experts = counts.experts * share * WEIGHT_BYTES[self.dtype]
        return dense + experts + batch * self.context * self.cache_bytes_per_token

    def step_s(self, batch: int, mfu: float = 0.4) -> float:
        """Seconds of such a step.

        Args:
            batch: sequences.
            mfu: share of the bfloat16 peak that products reach.
        """
        read_s = self.step_bytes(batch) / (self.num_gpus * self.gpu.memory_bytes_per_s * BANDWIDTH_SHARE)
        flops = 2 * batch * count_parameters(self.config).active
        compute_s = flops / (self.num_gpus * self.gpu.bfloat16_flops * mfu)
        kernels_s = self.config.num_layers * KERNELS_PER_LAYER * KERNEL_S
        reduces = ALL_REDUCES_PER_LAYER * self.config.num_layers if self.num_gpus > 1 else 0
        return max(read_s, compute_s) + kernels_s + reduces * ALL_REDUCE_S

    def ceiling(self, batch: int) -> float:
        """Tokens per second if a step did nothing but read at the data sheet's bandwidth."""
        return batch * self.num_gpus * self.gpu.memory_bytes_per_s / self.step_bytes(batch)

    def prompt_tokens_per_s(self, mfu: float = 0.4) -> float:
        """Tokens of long prompts that are read per second."""
        flops = 2 * count_parameters(self.config).active
        return self.num_gpus * self.gpu.bfloat16_flops * mfu / flops

    @property
    def _exact(self) -> int:
        """Numbers that stay in bfloat16."""
        config = self.config
        vocabularies = 1 if config.tied_head else 2
        return vocabularies * config.vocab_size * config.hidden_size + (
            len(config.moe_layers) * config.num_experts * config.hidden_size
        )
