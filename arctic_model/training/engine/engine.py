"""The engine: a model, its gradients and its optimizer on this worker, with DeepSpeed or flat buffers underneath."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.checkpoint.tensors.names import WEIGHT, ParameterSlice, is_expert, unstacked
from arctic_model.checkpoint.writing import Layout, layout
from arctic_model.config import ArcticConfig
from arctic_model.layers.attention.grouped_query import Attention
from arctic_model.layers.feed_forward import DenseMLP
from arctic_model.model import ArcticModel
from arctic_model.moe.experts import Experts
from arctic_model.sizing.parallel import (
    require_divided_experts,
    require_dtypes,
    require_engine,
    require_fp8_widths,
)
from arctic_model.training.engine.backend import Backend, even_part
from arctic_model.training.engine.worker_groups import new_context_group
from arctic_model.training.lora.adapters import add_adapters, draw_adapter, is_adapter
from arctic_model.training.lora.frozen import fp8_matrices
from arctic_model.training.lora.tokens import matrix_of
from arctic_model.training.optimization.settings import Optimization, part_of
from arctic_model.weight_init import set_first_values

ReadSlice = Callable[[str, str, int, int], Tensor]
"""`read(name, kind, start, length)`: flat values of a parameter over all experts, or of its optimizer state."""
ELEMENTS_PER_NORM = 2**16
"""Squared and added in float32 on a CPU; later sums are float64. It adds one after the other: of 2**16 elements the
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
        context_parallel_size: int = 1,
        drawn: bool = True,
    ) -> None:
        require_dtypes(settings.dtype, settings.gradient_dtype, settings.zero_stage, fp8=settings.fp8)
        require_fp8_widths(config, fp8=settings.fp8)
        require_engine(settings.engine, settings.zero_stage, settings.shard_group_size)
        require_divided_experts(expert_parallel_size, config.num_experts)
        self._settings = settings
        self._backend = _new_backend(settings, expert_parallel_size, num_micro_batches)
        self.group = self._backend.expert_group
        self.context = new_context_group(context_parallel_size)
        with torch.device("meta"):
            self.model = ArcticModel(config, self.group)
            # Before there is memory: a frozen matrix in FP8 never exists in a wider dtype.
            if settings.tuning.lora:
                add_adapters(self.model, settings.tuning.lora)
                _narrow_frozen(self.model, getattr(torch, settings.dtype))
        for module in self.model.modules():
            if isinstance(module, Attention | DenseMLP | Experts):
                module.fp8 = settings.fp8
        for _, parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self._backend.adopt(self.model, loss)
        self._frozen: list[ParameterSlice] = []
        if self.trains_adapters:
            with torch.no_grad():
                self._backend.fill(self._draw_adapter)
        if drawn:
            self.draw()

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the first weights from the seed, one matrix at a time, into the memory in which they are trained."""
        self._backend.fill(self._draw_parameter)
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad and parameter.is_floating_point():
                self._draw_parameter(name, parameter)
        for name, bias in self.model.named_buffers():
            self._draw_parameter(name, bias)
        if self._tokens:
            self._start_trained_tokens(self._first_values)
            self._backend.publish()
        self._hold_frozen(self._first_values)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._backend.device

    @property
    def trains_adapters(self) -> bool:
        """Whether all but the adapters is frozen."""
        return self._settings.tuning.lora is not None

    def forward(self, *inputs: Any) -> Any:
        """`loss(model, *inputs)`; pass its first item to `backward`."""
        return self._backend.forward(*inputs)

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Accumulate the gradients of `loss`. A step uses their sum over passes and workers, in `gradient_dtype`."""
        self._backend.backward(loss)

    def end_micro_batch(self) -> None:
        """Call between two micro-batches of a step."""
        self._backend.end_micro_batch()

    def gradient_norm(self) -> float:
        """The norm of the accumulated gradient over all workers and experts, the same on every worker. Not finite if an
        element is not."""
        weighted = [(weight, chunk) for weight, gradient in self._backend.gradients() for chunk in _chunks(gradient)]
        squares = torch.zeros((), dtype=torch.float64, device=self.device)
        if weighted:
            weights, chunks = zip(*weighted, strict=True)
            norms = torch.stack(torch._foreach_norm(chunks, 2, torch.float32)).double()
            squares = (norms.square() * torch.tensor(weights, dtype=torch.float64, device=self.device)).sum()
        dist.all_reduce(squares)
        return float(squares.sqrt())

    def step(self, learning_rate: float, gradient_norm: float) -> None:
        """Update the weights with the gradient, clipped by its `gradient_norm`."""
        scale = min(1.0, self._settings.gradient_clip / (gradient_norm + 1e-6))
        self._backend.update(learning_rate, scale)

    def skip_step(self) -> None:
        """Drop the gradient. Weights, moments and the number of updates stay the same, bit for bit."""
        self._backend.update(0.0, None)

    def state_names(self, name: str) -> tuple[str, ...]:
        """Kinds of the optimizer state of the parameter `name`."""
        return self._settings.state_names(name)

    def parameter_slices(self) -> Iterator[ParameterSlice]:
        """This worker's part of trained weights and optimizer state, as views. Over all workers, and with
        `frozen_slices`, every value comes once."""
        for name, parameter in self._trained():
            for kind in (WEIGHT, *self.state_names(name)):
                start, values = self._backend.part(name, parameter, kind)
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
        self._backend.set_updates(updates)
        for name, parameter in self._trained():
            self._load_weight(name, parameter, read)
            for kind in self.state_names(name):
                self._load_part(name, parameter, kind, read)
        for name, parameter in self._frozen_parameters():
            self._load_weight(name, parameter, read)
        self._backend.publish()
        self._hold_frozen(read)
        self._load_biases(read)

    @torch.no_grad()
    def load_weights(self, read: ReadSlice) -> None:
        """Load all weights but those of adapters, as `load` does; trained tokens begin with the rows of the base. FP8
        tensors are quantized on the way."""
        for name, matrix in fp8_matrices(self.model):
            first = self.group.rank * matrix.shape.numel() if is_expert(name) else 0
            matrix.fill(partial(_read_weight, read, name, first))
        for name, parameter in self.model.named_parameters():
            if not is_adapter(name) and parameter.is_floating_point():
                self._load_weight(name, parameter, read)
        self._start_trained_tokens(read)
        self._backend.publish()
        self._hold_frozen(lambda name, kind, *part: read(name, kind, *part) if kind == WEIGHT else torch.zeros(part[1]))
        self._load_biases(read)

    def layout(self) -> Layout:
        """The files of a checkpoint of this engine's trained parameters."""
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
        first = self._first(name, parameter)
        if parameter.requires_grad:
            self._backend.load_weight(name, parameter, lambda start, size: read(name, WEIGHT, first + start, size))
        else:
            parameter.copy_(read(name, WEIGHT, first, parameter.numel()).view(parameter.shape))

    def _start_trained_tokens(self, read: ReadSlice) -> None:
        for name, parameter in self._trained():
            if matrix := matrix_of(name):
                width = parameter.shape[1]
                rows = torch.cat([read(matrix, WEIGHT, token * width, width) for token in self._tokens])
                self._backend.load_weight(name, parameter, partial(_part, rows))

    @property
    def _tokens(self) -> Sequence[int]:
        lora = self._settings.tuning.lora
        return lora.tokens if lora else ()

    def _load_biases(self, read: ReadSlice) -> None:
        biases = [read(name, WEIGHT, 0, bias.numel()) for name, bias in self.model.named_buffers()]
        if biases:
            self.model.set_router_biases(torch.stack(biases))

    def _load_part(self, name: str, parameter: nn.Parameter, kind: str, read: ReadSlice) -> None:
        start, values = self._backend.part(name, parameter, kind, whole=True)
        if values.numel():
            values.copy_(read(name, kind, self._first(name, parameter) + start, values.numel()))

    def close(self) -> None:
        """Remove the engine's hooks from the model. The default process group stays."""
        self._backend.close()
        if self.context.process_group is not None:
            dist.destroy_process_group(self.context.process_group)

    def _draw_parameter(self, name: str, parameter: Tensor) -> None:
        """One that is no adapter: adapters have their first values from the start."""
        if not is_adapter(name):
            for each, tensor in unstacked(name, parameter.detach(), self.model.local_experts):
                set_first_values(each, tensor, self.model.config.init_std, self._settings.seed)

    def _draw_adapter(self, name: str, parameter: Tensor) -> None:
        if is_adapter(name):
            for each, tensor in unstacked(name, parameter.detach(), self.model.local_experts):
                draw_adapter(each, tensor, self._settings.seed)

    def _first(self, name: str, parameter: Tensor) -> int:
        """First element of this worker's parameter in that of all experts."""
        return self.group.rank * parameter.numel() if is_expert(name) else 0

    def _even_part(self, name: str, numel: int) -> range:
        """Elements that fall to this worker of a flat parameter which it and others hold whole."""
        holders = self.group.size if is_expert(name) else 1
        return even_part(numel, dist.get_rank() // holders, dist.get_world_size() // holders)


def _new_backend(settings: Optimization, expert_parallel_size: int, num_micro_batches: int) -> Backend:
    """Imported here, so that DeepSpeed is imported only if it trains."""
    if settings.engine == "flat":
        from arctic_model.training.engine.flat import FlatBackend

        return FlatBackend(settings, expert_parallel_size, num_micro_batches)
    from arctic_model.training.engine.deepspeed_backend import DeepSpeedBackend

    return DeepSpeedBackend(settings, expert_parallel_size, num_micro_batches)


def _narrow_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Give frozen parameters the dtype of the products, before they have memory: they need no float32 values."""
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _read_weight(read: ReadSlice, name: str, first: int, start: int, length: int) -> Tensor:
    return read(name, WEIGHT, first + start, length)


def _part(values: Tensor, start: int, length: int) -> Tensor:
    return values[start : start + length]


def _chunks(gradient: Tensor) -> Sequence[Tensor]:
    """Parts whose squares are added in float32. A GPU adds in a tree, so any length is accurate."""
    return (gradient,) if gradient.is_cuda else gradient.flatten().split(ELEMENTS_PER_NORM)
