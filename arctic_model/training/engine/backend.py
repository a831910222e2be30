"""The part of an engine that DeepSpeed or flat buffers do: memory, backward with its collectives, and the update."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup

ReadPart: TypeAlias = Callable[[int, int], Tensor]
"""`read(start, length)`: flat values of this worker's parameter."""
SetValues: TypeAlias = Callable[[str, Tensor], None]
"""`set_values(name, parameter)` sets all values of a parameter in place."""


@runtime_checkable
class Backend(Protocol):
    """Trains a model on the workers of the default process group. Every method is called by all workers in step.

    `expert_group`: the workers that hold one copy of the experts between them, this one among them. `device`: of the
    weights.
    """

    expert_group: ExpertGroup
    device: torch.device

    def adopt(self, model: ArcticModel, loss: Callable[..., Any]) -> None:
        """Allocate memory, undefined at first, for the parameters of `model`, which is on the meta device, and train
        those that need a gradient on `loss(model, ...)`."""

    def forward(self, *inputs: Any) -> Any:
        """`loss(model, *inputs)`."""

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of `loss`. After the last pass of a step they are summed over workers."""

    def end_micro_batch(self) -> None:
        """Called between two passes of a step."""

    def gradients(self) -> Iterator[tuple[float, Tensor]]:
        """This worker's gradients, each with a weight: a gradient that several workers hold counts once over all."""

    def update(self, learning_rate: float, gradient_scale: float | None) -> None:
        """Update the weights with the gradients times `gradient_scale`, nothing if it is None; drop the gradients."""

    def set_updates(self, updates: int) -> None:
        """Set the optimizer's number of past updates."""

    def fill(self, set_values: SetValues) -> None:
        """Set the weights that are trained, whole parameter by whole parameter."""

    def load_weight(self, name: str, parameter: nn.Parameter, read: ReadPart) -> None:
        """Set the weights of one trained parameter. They are in use after `publish`."""

    def publish(self) -> None:
        """Give all workers the weights that were loaded."""

    def part(self, name: str, parameter: nn.Parameter, kind: str, *, whole: bool = False) -> tuple[int, Tensor]:
        """First element and float32 values of this worker's part of a flat trained parameter, or of its optimizer
        state. Of values that several workers hold each has an even part, or all with `whole`."""

    def close(self) -> None:
        """Remove hooks, and process groups that nobody else uses."""


def even_part(numel: int, rank: int, size: int) -> range:
    """Elements that fall to the worker `rank` of `size` that all hold `numel`.

    >>> [even_part(7, rank, 3) for rank in range(3)]
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    return range(numel * rank // size, numel * (rank + 1) // size)
