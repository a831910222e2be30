"""FLOPs, memory, step time and cost of a config, by formula and without torch.

>>> from arctic_model import preset
>>> from arctic_model.sizing import GPUS, ParallelConfig, count_parameters, memory_per_worker, step_time
>>> arctic = preset("arctic-480b")
>>> f"{count_parameters(arctic).total:,}"
'478,584,608,768'
>>> parallel = ParallelConfig(
...     num_workers=1024, expert_parallel_size=128, sequence_length=4096, activation_checkpointing="selective"
... )
>>> memory_per_worker(arctic, parallel).fits(GPUS["h100"].memory_bytes)
True
>>> round(step_time(arctic, parallel, GPUS["h100"], efficiency=0.5).mfu, 2)
0.25
"""

from arctic_model.sizing.flops import (
    ForwardFlops,
    ParameterCount,
    count_parameters,
    forward_flops_per_token,
    training_flops_per_token,
)
from arctic_model.sizing.memory import Memory, memory_per_worker
from arctic_model.sizing.parallel import ParallelConfig
from arctic_model.sizing.step_time import GPUS, Bill, Gpu, StepTime, Traffic, bill, step_time, traffic

__all__ = [
    "GPUS",
    "Bill",
    "ForwardFlops",
    "Gpu",
    "Memory",
    "ParallelConfig",
    "ParameterCount",
    "StepTime",
    "Traffic",
    "bill",
    "count_parameters",
    "forward_flops_per_token",
    "memory_per_worker",
    "step_time",
    "traffic",
    "training_flops_per_token",
]
