"""DeepSpeed as the engine uses it: the only module that imports it, with workarounds for its faults.

- `import deepspeed` imports mlflow for its autotuner (1.2 s of 1.5 s); here it does not.
- `deepspeed.init_distributed` on a CPU compiles an extension for shared memory; here it does not, so no compiler is
  needed.
- It detects expert parallelism by `isinstance(module, deepspeed.moe.layer.MoE)`; a marker that calls nothing but
  `nn.Module.__init__` is added next to the model.
- Its gradient norm at ZeRO-0 averages the norms of the workers, which is wrong with split experts. At ZeRO-1 and 2 the
  norm is right, but available only after the update. Here the norm is computed before the update, and DeepSpeed
  computes none.
- It allocates a bucket of 500 million elements for the reduction of gradients, however small the model. Here the bucket
  is no larger than the trained parameters.
- At ZeRO-1 with weights in bfloat16 and gradients in float32 it selects an optimizer that does not support our expert
  groups and insists on computing the norm. Its ZeRO optimizer accumulates in float32 as well, so here it is selected.
- It divides gradients by the number of workers in the dtype of the reduction, at ZeRO-2 in bfloat16. Here gradients
  are summed over workers.
- At ZeRO-0 it divides the gradient of a loss that comes straight from the model by the number of micro-batches, for any
  value of `scale_wrt_gas`. Here it gets a copy of the loss.
- With several parameter groups its optimizer states are linked to parameters after the first group's step only;
  here they are linked at the start.
- `reduce_scatter` does not reduce-scatter in 0.19.8: gradients are all-reduced, each worker keeps its part. With
  `use_multi_rank_bucket_allreduce` off they are reduced to one owner after the other, which is right for dense and
  expert parameters and sends half the bytes, but in as many collectives as there are workers. Under gloo a pass of the
  quickstart model waits 0.037 s for them instead of 0.045 on two workers, and 0.136 s instead of 0.083 on four: left
  as it is.
- Its own checkpoints of such a layer hold rank 0's experts only: `Engine.parameter_slices` and `Engine.load` replace
  them.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.memory import REDUCE_BUCKET_ELEMENTS
from arctic_model.sizing.parallel import require_dtypes
from arctic_model.training.environment import environment
from arctic_model.training.optimization.muon import Partition, partition
from arctic_model.training.optimization.settings import Optimization

SHORT_NAMES = {"float32": "fp32", "bfloat16": "bf16"}
"""Of dtypes, in DeepSpeed's configuration."""


def import_deepspeed() -> Any:
    # DeepSpeed's own collectives are of the deprecated kind: one warning per call, several calls a step.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*(all_gather|reduce_scatter).*deprecated")
    accelerator = os.environ.get("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    with _without_mlflow(), environment(DS_ACCELERATOR=accelerator):
        import deepspeed
        import deepspeed.moe.layer
        from deepspeed.ops.op_builder.all_ops import ALL_OPS
    with patch.object(torch, "compile", _leave_uncompiled):
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    # Asking which operators could be compiled would run the compiler; none is wanted.
    vars(deepspeed.ops)["__compatible_ops__"] = dict.fromkeys(ALL_OPS, False)
    deepspeed.init_distributed(dist_init_required=False, auto_mpi_discovery=False)
    return deepspeed


def initialize(
    deepspeed: Any, module: nn.Module, optimizer: torch.optim.Optimizer, settings: Optimization, num_micro_batches: int
) -> Any:
    """DeepSpeed's engine around `module`, whose forward returns the loss, for `num_micro_batches` passes a step."""
    local_rank = os.environ.get("LOCAL_RANK", "0")
    with warnings.catch_warnings(), _zero_optimizer(deepspeed, settings), environment(LOCAL_RANK=local_rank):
        warnings.simplefilter("ignore", FutureWarning)
        engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=_deepspeed_config(settings, num_micro_batches, module),
            dist_init_required=False,
        )
    return engine


def marker(deepspeed: Any, config: ArcticConfig, group: ExpertGroup, name: str) -> nn.Module:
    class Marker(deepspeed.moe.layer.MoE):  # type: ignore[misc]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.num_experts = config.num_experts
            self.num_local_experts = group.num_local(config.num_experts)
            self.ep_size = group.size
            self.expert_group_name = name

        def set_deepspeed_parallelism(self, use_data_before_expert_parallel_: bool = False) -> None:
            """The groups exist: the model was built on them."""

    return Marker()


def link_states(zero: Any) -> None:
    """Link every parameter to its optimizer states, which exist by now."""
    zero._hp_optimizer_states_linked = False
    zero._lazy_init_hp_params_optimizer_state()


def partitions(zero: Any) -> Iterator[tuple[Tensor, Partition]]:
    """This worker's flat part of each group with Muon, and the matrices in it."""
    for number, group in enumerate(zero.optimizer.param_groups):
        if group["muon"]:
            flat, workers = zero.bit16_groups_flat[number], zero.real_dp_process_group[number]
            offsets = [
                (parameter.storage_offset() - flat.storage_offset(), parameter.shape)
                for parameter in zero.bit16_groups[number]
            ]
            (own,) = group["params"]
            yield own, partition(offsets, own.numel(), dist.get_rank(workers), workers)


def _deepspeed_config(settings: Optimization, num_micro_batches: int, model: nn.Module) -> dict[str, Any]:
    require_dtypes(settings.dtype, settings.gradient_dtype, settings.zero_stage, fp8=settings.fp8)
    zero: dict[str, Any] = {"stage": settings.zero_stage, "overlap_comm": False}
    if settings.zero_stage:
        num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        zero["reduce_bucket_size"] = min(REDUCE_BUCKET_ELEMENTS, num_trained)
        zero["compute_grad_norm"] = False
    return {
        # The loop makes the batches; DeepSpeed only counts the passes between two steps.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": num_micro_batches,
        "gradient_clipping": 0.0,
        "gradient_allreduce_op": "sum",
        "communication_data_type": SHORT_NAMES[settings.gradient_dtype],
        "data_types": {"grad_accum_dtype": SHORT_NAMES[settings.gradient_dtype]},
        "bf16": {"enabled": settings.dtype == "bfloat16", "check_grad_overflow": False},
        "zero_optimization": zero,
        "steps_per_print": None,
    }


@contextmanager
def _zero_optimizer(deepspeed: Any, settings: Optimization) -> Iterator[None]:
    """Engines built inside use DeepSpeed's ZeRO optimizer at every stage but 0."""
    if settings.zero_stage == 0:
        yield
        return
    zero = deepspeed.runtime.zero.config.ZERO_OPTIMIZATION
    with patch.object(deepspeed.DeepSpeedEngine, "_do_optimizer_sanity_check", lambda *_: zero):
        yield


@contextmanager
def _without_mlflow() -> Iterator[None]:
    """`import mlflow` fails inside, which DeepSpeed takes as "not installed"."""
    hidden = "mlflow" not in sys.modules
    if hidden:
        sys.modules["mlflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["mlflow"]


def _leave_uncompiled(function: Any = None, **_: Any) -> Any:
    return function or _leave_uncompiled
