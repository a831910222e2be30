"""DeepSpeed around a model: the only place that imports it, and where its faults are worked round.

- `import deepspeed` imports mlflow for its autotuner (1.2 s of 1.5 s); here it does not.
- `deepspeed.init_distributed` on a CPU compiles an extension for shared memory; here it does not, so no compiler is
  needed.
- It knows expert parallelism by `isinstance(module, deepspeed.moe.layer.MoE)`; a marker that calls nothing but
  `nn.Module.__init__` stands beside the model.
- Its clipping at ZeRO-0 averages the workers' norms; with split experts that is no norm. Here it is.
- With several parameter groups its optimizer states are linked to parameters after the first group's step only;
  here they are linked at the start.
- Its own checkpoints of such a layer keep rank 0's experts only: `Engine.tensors` and `Engine.load` replace them.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arctic_model.config import ArcticConfig
from arctic_model.dispatch import ExpertGroup
from arctic_model.model import ArcticModel
from arctic_model.optimizer import MOMENTS, Optimization, new_optimizer, zero_states
from arctic_model.tensor_names import is_expert
from arctic_model.weight_init import initialize

WEIGHT = "weight"
"""Kind of a tensor beside the two moments."""


class Engine:
    """A model under training on the workers of the default process group, which must exist.

    Every method is called by all workers in step. Raises ValueError where workers and experts do not fit.
    """

    def __init__(
        self,
        config: ArcticConfig,
        settings: Optimization,
        expert_parallel_size: int,
        num_micro_batches: int,
        loss: Callable[..., Any],
    ) -> None:
        self._deepspeed = _import_deepspeed()
        self._group_name = f"ep_size_{expert_parallel_size}"
        self._settings = settings
        self.group = self._expert_group(config, expert_parallel_size)
        self.model = ArcticModel(config, self.group)
        initialize(self.model, settings.seed)
        self._mark_experts()
        optimizer = new_optimizer(self.model, settings, self._group_name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._engine, *_ = self._deepspeed.initialize(
                model=_Trained(self.model, loss, _marker(self._deepspeed, config, self.group, self._group_name)),
                optimizer=optimizer,
                config=_deepspeed_config(settings, num_micro_batches),
                dist_init_required=False,
            )
        self._optimizer = optimizer
        zero_states(optimizer)
        if settings.zero_stage:
            self._engine.optimizer._hp_optimizer_states_linked = False
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    @property
    def device(self) -> torch.device:
        return torch.device(self._engine.device)

    def forward(self, *inputs: Any) -> Any:
        """What `loss(model, *inputs)` returns; its first item goes to `backward`."""
        return self._engine(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`; the step takes their sum over micro-batches and mean over workers."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def end_micro_batch(self) -> None:
        """Between two micro-batches of a step: DeepSpeed counts them."""
        self._engine.step()

    def step(self, learning_rate: float) -> float:
        """Update the weights. Returns the gradient's norm before clipping, over all workers and experts."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        norm = self._clip() if self._settings.zero_stage == 0 else None
        self._engine.step()
        return float(self._engine.optimizer._global_grad_norm if norm is None else norm)

    def tensors(self) -> Iterator[tuple[str, str, Tensor]]:
        """(parameter name, kind, float32 tensor) of every parameter: WEIGHT and the two moments.

        Whole tensors, put together from the workers' parts, and stacks of all experts.
        """
        for name, parameter in self.model.named_parameters():
            for kind in (WEIGHT, *MOMENTS):
                tensor = self._whole(parameter, kind)
                yield name, kind, self._all_experts(tensor) if is_expert(name) else tensor

    def load(self, step: int, read: Callable[[str, str], Tensor]) -> None:
        """Take weights and moments after `step` steps from `read(parameter name, kind)`: whole tensors, and stacks
        of this worker's experts."""
        for state in self._optimizer.state.values():
            state["step"].fill_(step)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                for kind in (WEIGHT, *MOMENTS):
                    self._set_whole(parameter, kind, read(name, kind))

    def close(self) -> None:
        """Let go of DeepSpeed's hooks on the parameters. The process group stays."""
        self._engine.destroy()

    def _expert_group(self, config: ArcticConfig, size: int) -> ExpertGroup:
        world = dist.get_world_size()
        if world % size:
            raise ValueError(f"expert_parallel_size {size} does not divide num_workers {world}. Choose a divisor.")
        ExpertGroup(size).num_local(config.num_experts)
        groups = self._deepspeed.utils.groups
        # What an earlier engine of this process remembers went with the process group it was made in.
        groups._release_process_group_references()
        groups._create_expert_and_data_parallel(size)
        return ExpertGroup(size, dist.get_rank() % size, groups._get_expert_parallel_group(self._group_name))

    def _mark_experts(self) -> None:
        for name, parameter in self.model.named_parameters():
            if is_expert(name):
                vars(parameter).update(allreduce=False, group_name=self._group_name)

    def _clip(self) -> Tensor:
        """ZeRO-0: the norm over dense and all experts' gradients, and the gradients scaled down to the limit."""
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        squares = torch.zeros(2, dtype=torch.float64, device=self.device)
        for name, gradient in gradients.items():
            squares[int(is_expert(name))] += torch.linalg.vector_norm(gradient, dtype=torch.float64).square()
        dense, experts = squares.unbind()
        dist.all_reduce(experts, group=self.group.process_group)
        norm = (dense + experts).sqrt()
        scale = (self._settings.gradient_clip / (norm + 1e-6)).clamp(max=1.0).float()
        torch._foreach_mul_(list(gradients.values()), scale)
        return norm

    def _whole(self, parameter: nn.Parameter, kind: str) -> Tensor:
        if self._settings.zero_stage == 0:
            return parameter.detach() if kind == WEIGHT else self._optimizer.state[parameter][kind]
        if kind == WEIGHT:
            return self._deepspeed.utils.safe_get_full_fp32_param(parameter).detach()
        return self._deepspeed.utils.safe_get_full_optimizer_state(parameter, kind)

    def _all_experts(self, tensor: Tensor) -> Tensor:
        if self.group.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.group.size)]
        dist.all_gather(parts, tensor.contiguous(), group=self.group.process_group)
        return torch.cat(parts)

    def _set_whole(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        value = value.to(parameter.device)
        if kind == WEIGHT:
            parameter.copy_(value)
        if self._settings.zero_stage == 0:
            if kind != WEIGHT:
                self._optimizer.state[parameter][kind].copy_(value)
        elif kind == WEIGHT:
            self._deepspeed.utils.safe_set_full_fp32_param(parameter, value)
        else:
            self._deepspeed.utils.safe_set_full_optimizer_state(parameter, value, kind)


class _Trained(nn.Module):
    """What DeepSpeed wraps: the model, its loss, and the marker."""

    def __init__(self, model: ArcticModel, loss: Callable[..., Any], marker: nn.Module) -> None:
        super().__init__()
        self.arctic = model
        self.loss = loss
        self.marker = marker

    def forward(self, *inputs: Any) -> Any:
        return self.loss(self.arctic, *inputs)


def _marker(deepspeed: Any, config: ArcticConfig, group: ExpertGroup, name: str) -> nn.Module:
    class Marker(deepspeed.moe.layer.MoE):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.num_experts = config.num_experts
            self.num_local_experts = group.num_local(config.num_experts)
            self.ep_size = group.size
            self.expert_group_name = name

        def set_deepspeed_parallelism(self, use_data_before_expert_parallel_: bool = False) -> None:
            """The groups exist: the model was built on them."""

    return Marker()


def _deepspeed_config(settings: Optimization, num_micro_batches: int) -> dict[str, Any]:
    if settings.dtype == "bfloat16" and settings.zero_stage == 0:
        raise ValueError("train.zero_stage = 0 with dtype bfloat16 has no float32 master weights. Use zero_stage 1.")
    return {
        # The loop makes the batches; DeepSpeed only counts the passes between two steps.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": num_micro_batches,
        "gradient_clipping": settings.gradient_clip if settings.zero_stage else 0.0,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        "zero_optimization": {"stage": settings.zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }


def _import_deepspeed() -> ModuleType:
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    # DeepSpeed's own collectives are of the deprecated kind: one warning per call, several calls a step.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*(all_gather|reduce_scatter).*deprecated")
    with _without_mlflow():
        import deepspeed
        import deepspeed.moe.layer
        from deepspeed.ops.op_builder.all_ops import ALL_OPS
    with patch.object(torch, "compile", _leave_uncompiled):
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    # Asking which operators could be compiled would run the compiler; none is wanted.
    vars(deepspeed.ops)["__compatible_ops__"] = dict.fromkeys(ALL_OPS, False)
    deepspeed.init_distributed(dist_init_required=False, auto_mpi_discovery=False)
    return deepspeed


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
