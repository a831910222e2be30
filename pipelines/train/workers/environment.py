"""Environment variables of a worker on a GPU, set before torch and NCCL read them. A variable that is set stays."""

import os

from pipelines.train.job import WorkerGroup

GPU_DEFAULTS = {
    # Passes differ in size, as the loads of experts do: segments that grow leave less memory that nothing fits into.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # A collective that is ready goes before kernels that wait: computation hides it only if it runs.
    "TORCH_NCCL_HIGH_PRIORITY": "1",
}
"""By variable, see torch's documentation of its CUDA allocator and of ProcessGroupNCCL."""
MAX_CTAS = "NCCL_MAX_CTAS"
"""NCCL's limit to the thread blocks of a collective, each of which takes a multiprocessor from computation."""


def set_environment(group: WorkerGroup) -> None:
    """Set the variables of this process, if its worker has a GPU."""
    if not group.gpus_per_worker:
        return
    limits = {MAX_CTAS: str(group.nccl_max_ctas)} if group.nccl_max_ctas else {}
    for name, value in (GPU_DEFAULTS | limits).items():
        os.environ.setdefault(name, value)
