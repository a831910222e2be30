"""DeepSpeed around a model: the only module that imports it, with workarounds for its faults.

- `import deepspeed` imports mlflow for its autotuner (1.2 s of 1.5 s); here it does not.
- `deepspeed.init_distributed` on a CPU compiles an extension for shared memory; here it does not, so no compiler is
  needed.
- It knows expert parallelism by `isinstance(module, deepspeed.moe.layer.MoE)`; a marker that calls nothing but
  `nn.Module.__init__` stands beside the model.
- Its gradient norm at ZeRO-0 averages the norms of the workers, which is wrong with split experts. At ZeRO-1 and 2 the
  norm is right, but available only after the update. Here the norm is computed before the update, and DeepSpeed
  computes none.
- It allocates a bucket of 500 million elements for the reduction of gradients, however small the model. Here the
  bucket is no larger than the model.
- At ZeRO-1 with weights in bfloat16 and gradients in float32 it selects an optimizer that does not support our expert
  groups and insists on computing the norm. Its ZeRO optimizer accumulates in float32 as well, so here it is selected.
- It divides gradients by the number of workers in the dtype of the reduction, at ZeRO-2 in bfloat16. Here gradients
  are summed over workers.
- At ZeRO-0 it divides the gradient of a loss that comes straight from the model by the number of micro-batches,
  whatever the value of `scale_wrt_gas`. Here it gets a copy of the loss.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.checkpoint.tensor_names import WEIGHT, ParameterSlice, is_expert
from arctic_model.checkpoint.writing import Layout, layout
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.memory import REDUCE_BUCKET_ELEMENTS
from arctic_model.sizing.parallel import require_dtypes, require_expert_groups
from arctic_model.training.lora.adapters import add_adapters, is_adapter
from arctic_model.training.muon import Partition, partition
from arctic_model.training.optimization import Optimization
from arctic_model.training.optimizer import new_optimizer
from arctic_model.weight_init import initialize

ELEMENTS_PER_NORM = 2**16
"""Squared and added in float32 on a CPU; what follows is float64. It adds one after the other: of 2**16 elements the
norm is right to 1e-5, of 2**24 to 1e-3, and adding all in float64 takes three times as long."""
SHORT_NAMES = {"float32": "fp32", "bfloat16": "bf16"}
"""Of dtypes, in DeepSpeed's configuration."""


class Engine:
    """A model under training on the workers of the default process group, which must exist.

    Every method is called by all workers in step. Raises ConfigError if workers and experts do not fit. Weights are
    undefined until `draw`, `load` or `load_weights`, unless they are `drawn` at once.
    """

    def __init__(
        self,
        config: ArcticConfig,
        settings: Optimization,
        expert_parallel_size: int,
        num_micro_batches: int,
        loss: Callable[..., Any],
        *,
        drawn: bool = True,
    ) -> None:
        self._deepspeed = _import_deepspeed()
        self._group_name = f"ep_size_{expert_parallel_size}"
        self._settings = settings
        self.group = self._expert_group(config, expert_parallel_size)
        with torch.device("meta"):
            self.model = ArcticModel(config, self.group)
        self.model.to_empty(device=self._deepspeed.accelerator.get_accelerator().current_device_name())
        if drawn:
            initialize(self.model, config.init_std, self.model.local_experts, settings.seed)
        if settings.lora:
            add_adapters(self.model, settings.lora, settings.seed)
        self._mark_experts()
        optimizer = new_optimizer(self.model, settings, self._group_name)
        with warnings.catch_warnings(), _zero_optimizer(self._deepspeed, settings):
            warnings.simplefilter("ignore", FutureWarning)
            self._engine, *_ = self._deepspeed.initialize(
                model=_Trained(self.model, loss, self._marker(config)),
                optimizer=optimizer,
                config=_deepspeed_config(settings, num_micro_batches, self.model),
                dist_init_required=False,
            )
        self._optimizer = optimizer
        optimizer.zero_states()
        if settings.zero_stage:
            _link_states(self._zero)
            optimizer.partitions = dict(_partitions(self._zero))

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the first weights from the seed, one matrix at a time, into the memory in which they are trained."""
        initialize(self.model, self.model.config.init_std, self.model.local_experts, self._settings.seed)
        for name, parameter in self._trained():
            start, values = self._part(name, parameter, WEIGHT, whole=True)
            values.copy_(parameter.reshape(-1)[start : start + values.numel()])

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(self._engine.device)

    @property
    def trains_adapters(self) -> bool:
        """Whether all but the adapters is frozen."""
        return self._settings.lora is not None

    def forward(self, *inputs: Any) -> Any:
        """`loss(model, *inputs)`; pass its first item to `backward`."""
        return self._engine(*inputs)

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Accumulate the gradients of `loss`. A step uses their sum over passes and workers, in `gradient_dtype`."""
        self._engine.backward(loss.clone(), scale_wrt_gas=False)

    def end_micro_batch(self) -> None:
        """Call between two micro-batches of a step: DeepSpeed counts them."""
        self._engine.step()

    def gradient_norm(self) -> float:
        """The norm of the accumulated gradient over all workers and experts, the same on every worker. Not finite if an
        element is not."""
        weighted = [(weight, chunk) for weight, gradient in self._gradients() for chunk in _chunks(gradient)]
        squares = torch.zeros((), dtype=torch.float64, device=self.device)
        if weighted:
            weights, chunks = zip(*weighted, strict=True)
            norms = torch.stack(torch._foreach_norm(chunks, 2, torch.float32)).double()
            squares = (norms.square() * torch.tensor(weights, dtype=torch.float64, device=self.device)).sum()
        dist.all_reduce(squares)
        return float(squares.sqrt())

    def step(self, learning_rate: float, gradient_norm: float) -> None:
        """Update the weights with the gradient, clipped by its `gradient_norm`."""
        self._optimizer.prepare(learning_rate, min(1.0, self._settings.gradient_clip / (gradient_norm + 1e-6)))
        self._engine.step()

    def skip_step(self) -> None:
        """Drop the gradient. Weights, moments and the number of updates stay the same, bit for bit."""
        self._optimizer.prepare(0.0, None)
        self._engine.step()

    def state_names(self, name: str) -> tuple[str, ...]:
        """Kinds of the optimizer state of the parameter `name`."""
        return self._settings.state_names(name)

    def parameter_slices(self) -> Iterator[ParameterSlice]:
        """This worker's part of trained weights and optimizer state, as views. Over all workers every value comes
        once."""
        for name, parameter in self._trained():
            for kind in (WEIGHT, *self.state_names(name)):
                start, values = self._part(name, parameter, kind)
                if values.numel():
                    yield ParameterSlice(name, kind, self._first(name, parameter) + start, values)
        if dist.get_rank() == 0:
            yield from (ParameterSlice(name, WEIGHT, 0, bias) for name, bias in self.model.named_buffers())

    @torch.no_grad()
    def load(self, updates: int, read: Callable[[str, str, int, int], Tensor]) -> None:
        """Load trained weights and optimizer state after `updates` updates from `read(name, kind, start, length)`,
        which returns flat values of the parameter over all experts."""
        for state in self._optimizer.state.values():
            state["step"].fill_(updates)
        for name, parameter in self._trained():
            self._load_weight(name, parameter, read)
            for kind in self.state_names(name):
                self._load_part(name, parameter, kind, read)
        self._load_biases(read)

    @torch.no_grad()
    def load_weights(self, read: Callable[[str, str, int, int], Tensor]) -> None:
        """Load all weights but those of adapters, as `load` does."""
        for name, parameter in self.model.named_parameters():
            if not is_adapter(name):
                self._load_weight(name, parameter, read)
        self._load_biases(read)

    def layout(self) -> Layout:
        """The files of a checkpoint of what this engine trains."""
        with torch.device("meta"):
            model = ArcticModel(self.model.config)
            if self._settings.lora:
                add_adapters(model, self._settings.lora)
        return layout(model, self.state_names)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, each) for name, each in self.model.named_parameters() if each.requires_grad)

    def _load_weight(self, name: str, parameter: nn.Parameter, read: Callable[[str, str, int, int], Tensor]) -> None:
        whole = read(name, WEIGHT, self._first(name, parameter), parameter.numel())
        parameter.copy_(whole.view(parameter.shape))
        if parameter.requires_grad:
            self._load_part(name, parameter, WEIGHT, read)

    def _load_biases(self, read: Callable[[str, str, int, int], Tensor]) -> None:
        biases = [read(name, WEIGHT, 0, bias.numel()) for name, bias in self.model.named_buffers()]
        if biases:
            self.model.set_router_biases(torch.stack(biases))

    def _load_part(
        self, name: str, parameter: nn.Parameter, kind: str, read: Callable[[str, str, int, int], Tensor]
    ) -> None:
        start, values = self._part(name, parameter, kind, whole=True)
        if values.numel():
            values.copy_(read(name, kind, self._first(name, parameter) + start, values.numel()))

    def close(self) -> None:
        """Remove DeepSpeed's hooks from the parameters. The process group stays."""
        self._engine.destroy()

    def _expert_group(self, config: ArcticConfig, size: int) -> ExpertGroup:
        require_expert_groups(size, dist.get_world_size())
        ExpertGroup(size).num_local(config.num_experts)
        groups = self._deepspeed.utils.groups
        # What an earlier engine of this process remembers went with the process group it was made in.
        groups._release_process_group_references()
        groups._create_expert_and_data_parallel(size)
        return ExpertGroup(size, dist.get_rank() % size, groups._get_expert_parallel_group(self._group_name))

    def _marker(self, config: ArcticConfig) -> nn.Module:
        """What shows DeepSpeed that there are experts to train, if there are."""
        if not config.num_experts or self._settings.lora:
            return nn.Identity()
        return _marker(self._deepspeed, config, self.group, self._group_name)

    def _mark_experts(self) -> None:
        for name, parameter in self.model.named_parameters():
            if is_expert(name):
                vars(parameter).update(allreduce=False, group_name=self._group_name)

    @property
    def _zero(self) -> Any:
        """DeepSpeed's optimizer at ZeRO-1 and 2."""
        return self._engine.optimizer

    def _gradients(self) -> Iterator[tuple[float, Tensor]]:
        """This worker's gradients, each with a weight: a gradient that several workers hold counts once over all of
        them."""
        if self._settings.zero_stage:
            yield from ((1.0, gradient) for part in self._zero.averaged_gradients.values() for gradient in part)
            return
        world = dist.get_world_size()
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                yield (self.group.size if is_expert(name) else 1) / world, parameter.grad

    def _first(self, name: str, parameter: nn.Parameter) -> int:
        """First element of this worker's parameter in that of all experts."""
        return self.group.rank * parameter.numel() if is_expert(name) else 0

    def _part(self, name: str, parameter: nn.Parameter, kind: str, *, whole: bool = False) -> tuple[int, Tensor]:
        """First element and float32 values of this worker's part of the flat parameter. Without ZeRO every worker has
        all of it: the result is an even part, or the `whole`."""
        if self._settings.zero_stage:
            mapping = vars(parameter)["_hp_mapping"]
            if mapping is None:
                return 0, parameter.new_empty(0, dtype=torch.float32)
            return mapping.lp_fragment_address.start, mapping.get_hp_fragment(None if kind == WEIGHT else kind)
        values = (parameter.detach() if kind == WEIGHT else self._optimizer.state[parameter][kind]).view(-1)
        if whole:
            return 0, values
        holders = self.group.size if is_expert(name) else 1
        rank, size = dist.get_rank() // holders, dist.get_world_size() // holders
        start, stop = (values.numel() * bound // size for bound in (rank, rank + 1))
        return start, values[start:stop]


class _Trained(nn.Module):
    """The module that DeepSpeed wraps: the model, its loss, and the marker."""

    def __init__(self, model: ArcticModel, loss: Callable[..., Any], marker: nn.Module) -> None:
        super().__init__()
        self.arctic = model
        self.loss = loss
        self.marker = marker

    def forward(self, *inputs: Any) -> Any:
        return self.loss(self.arctic, *inputs)


def _marker(deepspeed: Any, config: ArcticConfig, group: ExpertGroup, name: str) -> nn.Module:
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


def _chunks(gradient: Tensor) -> Sequence[Tensor]:
    """Parts whose squares are added in float32. A GPU adds in a tree, so any length is accurate."""
    return (gradient,) if gradient.is_cuda else gradient.flatten().split(ELEMENTS_PER_NORM)


def _link_states(zero: Any) -> None:
    """Link every parameter to its optimizer states, which exist by now."""
    zero._hp_optimizer_states_linked = False
    zero._lazy_init_hp_params_optimizer_state()


def _partitions(zero: Any) -> Iterator[tuple[Tensor, Partition]]:
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
    require_dtypes(settings.dtype, settings.gradient_dtype, settings.zero_stage)
    zero: dict[str, Any] = {"stage": settings.zero_stage, "overlap_comm": False}
    if settings.zero_stage:
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        zero["reduce_bucket_size"] = min(REDUCE_BUCKET_ELEMENTS, num_parameters)
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


def _import_deepspeed() -> Any:
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
