"""Parameters in flat tensors, split evenly over workers: their weights, their gradient, and the way of both.

whole     | q_proj | k_proj | ... | gate | norms | padding |     weights, and the gradient of one worker
worker 0  |==============|                                       its part of weights, float32 weights and gradient
worker 1                 |===============|
worker 2                                 |=================|
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from arctic_model.training.engine.worker_groups import Split

ALIGNMENT = 8
"""A worker's part is a multiple of this many elements, for kernels that load 16 bytes at once."""


@dataclass(frozen=True)
class BucketSettings:
    """Tensors that are split over workers in addition to the optimizer state, and the dtypes of weights and
    gradients."""

    shards_gradients: bool
    shards_weights: bool
    dtype: torch.dtype
    gradient_dtype: torch.dtype


class Bucket:
    """Trained parameters that are reduced together, on every worker of `split`. Weights are undefined at first.

    Args:
        model: its parameters `names` become views of the flat tensor `weights` [S * n].
        names: in the order of the flat tensor.
        split: the workers that hold these parameters.
        settings: which tensors are split, and dtypes.
        device: of all tensors.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], split: Split, settings: BucketSettings, device: torch.device
    ) -> None:
        shapes = [model.get_parameter(name).shape for name in names]
        self._sizes = [shape.numel() for shape in shapes]
        self._num_elements = sum(self._sizes)
        self.split = split
        self.part_size = math.ceil(self._num_elements / (ALIGNMENT * split.shards.size)) * ALIGNMENT
        begin = split.shards.rank * self.part_size
        self.own = slice(begin, begin + self.part_size)
        self._shards_weights = settings.shards_weights and split.shards.size > 1
        self._shards_gradients = settings.shards_gradients and split.shards.size > 1
        self._gradient_dtype = settings.gradient_dtype
        total = self.part_size * split.shards.size
        self.weights = torch.zeros(total, dtype=settings.dtype, device=device)
        own_weights = self.weights[self.own]
        self.own_weights = own_weights.clone() if self._shards_weights else own_weights
        self.master = self.own_weights if settings.dtype is torch.float32 else self.own_weights.float()
        size = self.part_size if self._shards_gradients else total
        self._gradient = torch.zeros(size, dtype=settings.gradient_dtype, device=device)
        self.own_gradient = self._gradient if self._shards_gradients else self._gradient[self.own]
        self._parameters = [_replaced(model, name, view) for name, view in zip(names, self._views(shapes), strict=True)]
        starts = [0, *torch.tensor(self._sizes).cumsum(0).tolist()[:-1]]
        self.offsets = dict(zip(names, zip(starts, shapes, strict=True), strict=True))
        self._arriving: tuple[Any, Tensor, Tensor] | None = None
        self._gathering: Any = None
        self._all_reducing: Any = None
        self._num_bytes = self.weights.untyped_storage().nbytes()
        self._is_whole = True

    @property
    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters."""
        return zip(self.offsets, self._parameters, strict=True)

    def owned(self, name: str) -> tuple[int, slice]:
        """First element of this worker's part of the flat parameter, and its offset in the worker's part."""
        start, shape = self.offsets[name]
        begin, end = max(start, self.own.start), min(start + shape.numel(), self.own.stop)
        return begin - start, slice(begin - self.own.start, max(begin, end) - self.own.start)

    def collect(self, *, adds: bool) -> None:
        """Move the gradients of a pass from the parameters into the flat gradient, or add them to it."""
        if self._shards_gradients:
            self._leaving = self._gradient.new_empty(self.part_size * self.split.shards.size)
            self._leaving[self._num_elements :] = 0
            adds = False
        flat = self._leaving if self._shards_gradients else self._gradient
        views, gradients = [], []
        for parameter, view in zip(self._parameters, flat[: self._num_elements].split(self._sizes), strict=True):
            if parameter.grad is not None:
                views.append(view.view(parameter.shape))
                gradients.append(parameter.grad)
            elif not adds:
                view.zero_()
            parameter.grad = None
        if views:
            (torch._foreach_add_ if adds else torch._foreach_copy_)(views, gradients)

    def reduce(self, *, adds: bool) -> None:
        """Start to sum the collected gradient over workers, each for its own part, or to add it to earlier passes'."""
        shards = self.split.shards
        if shards.size == 1:
            return
        flat = self._leaving if self._shards_gradients else self._gradient
        own = torch.empty_like(self.own_gradient) if self._shards_gradients and adds else self.own_gradient
        self._arriving = (dist.reduce_scatter_single(own, flat, group=shards.process_group, async_op=True), own, flat)
        if self._shards_gradients:
            del self._leaving

    def finish_reduce(self, *, is_last_pass: bool) -> None:
        """Wait for the sum of this worker's part. After the last pass start to add up those of its replicas."""
        if self._arriving is not None:
            work, own, _ = self._arriving
            work.wait()
            if own is not self.own_gradient:
                self.own_gradient.add_(own)
            self._arriving = None
        replicas = self.split.replicas
        if is_last_pass and replicas.size > 1:
            self._all_reducing = dist.all_reduce(self.own_gradient, group=replicas.process_group, async_op=True)

    def finish_all_reduce(self) -> None:
        """Wait for the sum over replicas."""
        if self._all_reducing is not None:
            self._all_reducing.wait()
            self._all_reducing = None

    def take_weights(self) -> None:
        """Train this worker's part of the weights from the current values of the parameters."""
        if self._shards_weights:
            self.own_weights.copy_(self.weights[self.own])
        if self.master is not self.own_weights:
            self.master.copy_(self.own_weights)

    def publish(self) -> None:
        """Start to send this worker's part of the trained weights to the others."""
        if self.master is not self.own_weights:
            self.own_weights.copy_(self.master)
        if not self._shards_weights:
            self._start_gathering()

    def gather(self) -> None:
        """Start to gather the weights that `release` freed."""
        if not self._is_whole:
            self.weights.untyped_storage().resize_(self._num_bytes)
            self._start_gathering()
            self._is_whole = True

    def finish_gather(self) -> None:
        """Wait until the parameters hold the weights of all workers."""
        if self._gathering is not None:
            self._gathering.wait()
            self._gathering = None

    def release(self) -> None:
        """Free the weights of other workers, if they are split. Parameters hold nothing until `gather`."""
        if self._shards_weights and self._is_whole:
            self.finish_gather()
            self.weights.untyped_storage().resize_(0)
            self._is_whole = False

    def _start_gathering(self) -> None:
        shards = self.split.shards
        if shards.size > 1:
            own = self.own_weights
            self._gathering = dist.all_gather_single(self.weights, own, group=shards.process_group, async_op=True)

    def _views(self, shapes: Sequence[torch.Size]) -> Iterator[Float[Tensor, "..."]]:
        # `data` has a separate version counter: gathering weights again does not invalidate the views that autograd
        # saved.
        parts = self.weights.data[: self._num_elements].split(self._sizes)
        return (part.data.view(shape) for part, shape in zip(parts, shapes, strict=True))


def _replaced(model: nn.Module, name: str, values: Tensor) -> nn.Parameter:
    """The parameter `name` of `model`, made again from `values`."""
    module, _, attribute = name.rpartition(".")
    parameter = nn.Parameter(values)
    model.get_submodule(module).register_parameter(attribute, parameter)
    return parameter
