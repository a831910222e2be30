"""Settings to lower when memory runs out: the largest parts by formula, and the field that each depends on."""

from dataclasses import fields
from typing import Any

import torch

from arctic_errors import ArcticError
from arctic_model.sizing.memory import States, Working, memory_per_worker
from pipelines.train.job import TrainJob, parallel_config

LARGEST = 3
CPU_ALLOCATOR = "can't allocate memory"
"""How torch words it on a CPU, in a RuntimeError like any other."""
PASS = (
    "lower train.micro_batch_sequences, set train.activation_checkpointing to selective or layer, or let workers share "
    "each sequence with train.context_parallel_size"
)
SPLIT_DENSE = "raise train.zero_stage, or train.num_workers"
SPLIT_EXPERTS = "raise train.expert_parallel_size, with train.num_workers"
REMEDIES = {
    "dense_weights": "take a smaller model, or bfloat16",
    "expert_weights": SPLIT_EXPERTS,
    "dense_gradients": SPLIT_DENSE,
    "expert_gradients": SPLIT_EXPERTS,
    "master_weights": SPLIT_DENSE,
    "moments": SPLIT_DENSE,
    "activations": PASS,
    "logits_chunk": PASS,
    "layer_backward": PASS,
    "communication_buffers": "lower train.zero_stage; 0 needs float32",
    "update": SPLIT_DENSE,
}


class OutOfMemoryError(ArcticError, RuntimeError):
    """Memory ran out: the message contains the operation, the largest parts of memory, and the settings to lower."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or CPU_ALLOCATOR in str(error)


def explained(error: Exception, job: TrainJob, num_workers: int) -> str:
    """The error with its position in the step, the largest parts of memory, and the remedy."""
    memory = max(
        (memory_per_worker(job.config, parallel_config(job, segment, num_workers)) for segment in job.segments),
        key=lambda memory: memory.total,
    )
    parts = _parts(memory.states) | _parts(memory.working)
    largest = sorted(parts, key=lambda name: -parts[name])[:LARGEST]
    sizes = ", ".join(f"{name} {parts[name] / 1e9:.2f} GB" for name in largest)
    where = "; ".join(getattr(error, "__notes__", [])) or "before the first step"
    said = str(error).splitlines()[0]
    return (
        f"out of memory ({where}): {said}. By formula a worker needs {memory.total / 1e9:.2f} GB, most of it for "
        f"{sizes}. For {largest[0]}, {REMEDIES[largest[0]]}. `arctic size` estimates the memory before a run."
    )


def _parts(memory: States | Working) -> dict[str, Any]:
    return {part.name: getattr(memory, part.name) for part in fields(memory)}
