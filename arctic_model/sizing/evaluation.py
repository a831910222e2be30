"""Memory of a process that evaluates a model, alone or with others that share its experts, by formula. No torch."""

from dataclasses import astuple, dataclass

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import count_parameters
from arctic_model.sizing.parallel import ELEMENT_BYTES, Dtype, require_divided_experts
from arctic_model.sizing.reserve import reserve


@dataclass(frozen=True)
class EvaluationMemory:
    """Bytes of one process: the weights that all repeat, those of its experts, and the cache of its answers."""

    dense_weights: int
    expert_weights: int
    keys_and_values: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(astuple(self))


def evaluation_memory(
    config: ArcticConfig, expert_parallel_size: int, num_sequences: int, dtype: Dtype = "bfloat16"
) -> EvaluationMemory:
    """Bytes of one of the processes that share the experts.

    Args:
        config: the model.
        expert_parallel_size: number of the processes.
        num_sequences: sequences of `max_positions` tokens whose keys and values are cached.
        dtype: of weights and cache: bfloat16 on a GPU, float32 on a CPU.

    Raises:
        ConfigError: if the processes cannot share the experts evenly.
    """
    require_divided_experts(expert_parallel_size, config.num_experts)
    counts, size = count_parameters(config), ELEMENT_BYTES[dtype]
    cached = config.num_layers * 2 * config.key_size * config.max_positions * num_sequences
    return EvaluationMemory(counts.dense * size, counts.experts * size // expert_parallel_size, cached * size)


def fewest_processes(config: ArcticConfig, num_sequences: int, memory_bytes: float) -> int | None:
    """The fewest GPUs of `memory_bytes` that hold the model in bfloat16 with their reserve; None if no number does."""
    sizes = [size for size in range(1, config.num_experts + 1) if config.num_experts % size == 0] or [1]
    for size in sizes:
        needed = evaluation_memory(config, size, num_sequences).total
        if needed + reserve(needed, size, size).total <= memory_bytes:
            return size
    return None
