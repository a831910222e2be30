"""The engine: a model, its gradients and its optimizer on this worker, with DeepSpeed underneath."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import WEIGHT, ParameterSlice, is_expert
from arctic_model.checkpoint.writing import Layout, layout
from arctic_model.config import ArcticConfig
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.sizing.parallel import require_expert_groups
from arctic_model.training.engine import deepspeed_setup
from arctic_model.training.lora.adapters import add_adapters, draw_adapters, is_adapter
from arctic_model.training.lora.frozen import fp8_matrices
from arctic_model.training.optimization.optimizer import new_optimizer
from arctic_model.training.optimization.settings import Optimization, part_of
from arctic_model.weight_init import initialize

ReadSlice = Callable[[str, str, int, int], Tensor]
"""`read(name, kind, start, length)`: flat values of a parameter over all experts, or of its optimizer state."""
ELEMENTS_PER_NORM = 2**16
"""Squared and added in float32 on a CPU; what follows is float64. It adds one after the other: of 2**16 elements the
norm is right to 1e-5, of 2**24 to 1e-3, and adding all in float64 takes three times as long."""


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
        self._deepspeed = deepspeed_setup.import_deepspeed()
        self._group_name = f"ep_size_{expert_parallel_size}"
        self._settings = settings
        self.group = self._expert_group(config, expert_parallel_size)
        with torch.device("meta"):
            self.model = ArcticModel(config, self.group)
            # Before there is memory: a frozen matrix in FP8 never exists in a wider dtype.
            if settings.tuning.lora:
                add_adapters(self.model, settings.tuning.lora)
        self.model.to_empty(device=self._deepspeed.accelerator.get_accelerator().current_device_name())
        if drawn:
            initialize(self.model, config.init_std, self.model.local_experts, settings.seed)
        if settings.tuning.lora:
            draw_adapters(self.model, settings.seed)
        for _, parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self._mark_experts()
        optimizer = new_optimizer(self.model, settings, self._group_name)
        wrapped = _Trained(self.model, loss, self._marker(config))
        self._engine = deepspeed_setup.initialize(self._deepspeed, wrapped, optimizer, settings, num_micro_batches)
        self._optimizer = optimizer
        optimizer.zero_states()
        if settings.zero_stage:
            deepspeed_setup.link_states(self._zero)
            optimizer.partitions = dict(deepspeed_setup.partitions(self._zero))
        self._frozen: list[ParameterSlice] = []
        if drawn:
            self._hold_frozen(self._first_values)

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the first weights from the seed, one matrix at a time, into the memory in which they are trained."""
        initialize(self.model, self.model.config.init_std, self.model.local_experts, self._settings.seed)
        for name, parameter in self._trained():
            start, values = self._part(name, parameter, WEIGHT, whole=True)
            values.copy_(parameter.reshape(-1)[start : start + values.numel()])
        self._hold_frozen(self._first_values)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return torch.device(self._engine.device)

    @property
    def trains_adapters(self) -> bool:
        """Whether all but the adapters is frozen."""
        return self._settings.tuning.lora is not None

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
        """This worker's part of trained weights and optimizer state, as views. Over all workers, and with
        `frozen_slices`, every value comes once."""
        for name, parameter in self._trained():
            for kind in (WEIGHT, *self.state_names(name)):
                start, values = self._part(name, parameter, kind)
                if values.numel():
                    yield ParameterSlice(name, kind, self._first(name, parameter) + start, values)
        if dist.get_rank() == 0:
            yield from (ParameterSlice(name, WEIGHT, 0, bias) for name, bias in self.model.named_buffers())

    def frozen_slices(self) -> Sequence[ParameterSlice]:
        """This worker's part of the weights and optimizer state of frozen parameters, in host memory. They are as they
        were loaded or drawn, to the bit: no rounding to the model's dtype is in them."""
        return self._frozen

    @torch.no_grad()
    def load(self, updates: int, read: ReadSlice) -> None:
        """Load trained weights and optimizer state after `updates` updates from `read(name, kind, start, length)`,
        which returns flat values of the parameter over all experts."""
        for state in self._optimizer.state.values():
            state["step"].fill_(updates)
        for name, parameter in self._trained():
            self._load_weight(name, parameter, read)
            for kind in self.state_names(name):
                self._load_part(name, parameter, kind, read)
        for name, parameter in self._frozen_parameters():
            self._load_weight(name, parameter, read)
        self._hold_frozen(read)
        self._load_biases(read)

    @torch.no_grad()
    def load_weights(self, read: ReadSlice) -> None:
        """Load all weights but those of adapters, as `load` does. What is held in FP8 is quantized on the way."""
        for name, matrix in fp8_matrices(self.model):
            first = self.group.rank * matrix.shape.numel() if is_expert(name) else 0
            matrix.fill(partial(_read_weight, read, name, first))
        for name, parameter in self.model.named_parameters():
            if not is_adapter(name) and parameter.is_floating_point():
                self._load_weight(name, parameter, read)
        self._hold_frozen(lambda name, kind, *part: read(name, kind, *part) if kind == WEIGHT else torch.zeros(part[1]))
        self._load_biases(read)

    def layout(self) -> Layout:
        """The files of a checkpoint of what this engine trains."""
        with torch.device("meta"):
            model = ArcticModel(self.model.config)
            if self._settings.tuning.lora:
                add_adapters(model, self._settings.tuning.lora)
        return layout(model, self.state_names)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, each) for name, each in self.model.named_parameters() if each.requires_grad)

    def _frozen_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        named = self.model.named_parameters()
        return ((name, each) for name, each in named if part_of(name) in self._settings.freeze)

    @torch.no_grad()
    def _hold_frozen(self, read: ReadSlice) -> None:
        self._frozen = []
        for name, parameter in self._frozen_parameters():
            part, first = self._even_part(name, parameter.numel()), self._first(name, parameter)
            for kind in (WEIGHT, *self.state_names(name)) if part else ():
                values = read(name, kind, first + part.start, len(part)).to("cpu", torch.float32, copy=True)
                self._frozen.append(ParameterSlice(name, kind, first + part.start, values))

    def _first_values(self, name: str, kind: str, start: int, length: int) -> Tensor:
        """Drawn weights, and optimizer state before the first update."""
        if kind != WEIGHT:
            return torch.zeros(length)
        parameter = self.model.get_parameter(name).detach()
        return parameter.view(-1)[start - self._first(name, parameter) :][:length]

    def _load_weight(self, name: str, parameter: nn.Parameter, read: ReadSlice) -> None:
        whole = read(name, WEIGHT, self._first(name, parameter), parameter.numel())
        parameter.copy_(whole.view(parameter.shape))
        if parameter.requires_grad:
            self._load_part(name, parameter, WEIGHT, read)

    def _load_biases(self, read: ReadSlice) -> None:
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
        lora = self._settings.tuning.lora
        if not config.num_experts or (lora and "experts" not in lora.targets) or "experts" in self._settings.freeze:
            return nn.Identity()
        return deepspeed_setup.marker(self._deepspeed, config, self.group, self._group_name)

    def _mark_experts(self) -> None:
        for name, parameter in self.model.named_parameters():
            if part_of(name) == "experts":
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

    def _first(self, name: str, parameter: Tensor) -> int:
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
        part = self._even_part(name, values.numel())
        return part.start, values[part.start : part.stop]

    def _even_part(self, name: str, numel: int) -> range:
        """Elements that fall to this worker of a flat parameter which it and others hold whole."""
        holders = self.group.size if is_expert(name) else 1
        rank, size = dist.get_rank() // holders, dist.get_world_size() // holders
        return range(numel * rank // size, numel * (rank + 1) // size)


class _Trained(nn.Module):
    """The module that DeepSpeed wraps: the model, its loss, and the marker."""

    def __init__(self, model: ArcticModel, loss: Callable[..., Any], marker: nn.Module) -> None:
        super().__init__()
        self.arctic = model
        self.loss = loss
        self.marker = marker

    def forward(self, *inputs: Any) -> Any:
        return self.loss(self.arctic, *inputs)


def _read_weight(read: ReadSlice, name: str, first: int, start: int, length: int) -> Tensor:
    return read(name, WEIGHT, first + start, length)


def _chunks(gradient: Tensor) -> Sequence[Tensor]:
    """Parts whose squares are added in float32. A GPU adds in a tree, so any length is accurate."""
    return (gradient,) if gradient.is_cuda else gradient.flatten().split(ELEMENTS_PER_NORM)
