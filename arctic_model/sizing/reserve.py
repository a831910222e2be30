"""GPU memory that no formula of `arctic_model.sizing.memory` covers, and that a run must leave free. No torch here."""

from dataclasses import astuple, dataclass

CONTEXT_BYTES = 1_000_000_000
"""CUDA context, kernels and library workspaces: 0.5 to 1 GB on an H100 by common report, not measured here."""
COMMUNICATOR_BYTES = 1_600_000_000
"""Buffers of one NCCL communicator over NVLink and network, as reported in NVIDIA/nccl issue 864 (0.5 to 0.7 GB inside
one node of A100, issue 964); not measured here."""
FRAGMENTATION_SHARE = 0.04
"""Share of the allocated memory that the caching allocator holds but cannot use; an assumption, not measured here."""


@dataclass(frozen=True)
class Reserve:
    """Bytes to leave free on one GPU."""

    cuda_context: int
    nccl_buffers: int
    fragmentation: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(astuple(self))


def reserve(
    allocated_bytes: int, num_workers: int, expert_parallel_size: int, context_parallel_size: int = 1
) -> Reserve:
    """Memory that a worker needs in addition to the `allocated_bytes` of its tensors."""
    return Reserve(
        cuda_context=CONTEXT_BYTES,
        nccl_buffers=COMMUNICATOR_BYTES * _num_communicators(num_workers, expert_parallel_size, context_parallel_size),
        fragmentation=int(FRAGMENTATION_SHARE * allocated_bytes),
    )


def _num_communicators(num_workers: int, expert_parallel_size: int, context_parallel_size: int) -> int:
    """All workers, those that share experts, those that hold the same ones, and those that share sequences. A group of
    one has no buffers. Of the first three, groups of all workers are one."""
    sizes = {expert_parallel_size, num_workers // expert_parallel_size} - {1, num_workers}
    return len(sizes) + 1 + (context_parallel_size > 1) if num_workers > 1 else 0
