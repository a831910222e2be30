"""The released model's names for tensors, and ours for stacks of experts.

In the model all local experts of a layer are one stacked parameter; outside, in checkpoints and in the draw of
first weights, each expert has its own tensor with the released model's name.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from arctic_model.model import ArcticModel

EXPERTS = ".block_sparse_moe.experts."
WEIGHT = "weight"
"""Kind of a tensor beside what the optimizer keeps of it."""


class Stretch(NamedTuple):
    """Values of the parameter `name`, or of what the optimizer keeps of it (`kind`), flat and in float32, from
    `start` on; of a stack, as of that of all experts."""

    name: str
    kind: str
    start: int
    values: Float[Tensor, " S"]


def is_expert(name: str) -> bool:
    """Whether the parameter `name` is a stack of experts."""
    return EXPERTS in name


def expert_name(name: str, expert: int) -> str:
    """`...experts.w1` and 5 to `...experts.5.w1.weight`."""
    prefix, matrix = name.rsplit(".", 1)
    return f"{prefix}.{expert}.{matrix}.weight"


def local_experts(model: ArcticModel) -> range:
    """Numbers of the experts that this worker holds."""
    number = model.group.num_local(model.config.num_experts)
    return range(model.group.rank * number, (model.group.rank + 1) * number)


def unstacked(name: str, tensor: Tensor, experts: range) -> Iterator[tuple[str, Tensor]]:
    """The parameter by outside names: a stack as one view per expert, anything else as it is."""
    if is_expert(name):
        for expert, matrix in zip(experts, tensor.unbind(0), strict=True):
            yield expert_name(name, expert), matrix
    else:
        yield name, tensor


def logical_tensors(model: ArcticModel) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that this worker holds, by outside names, sharing memory with the model."""
    experts = local_experts(model)
    for name, parameter in model.named_parameters():
        yield from unstacked(name, parameter.detach(), experts)
    yield from router_biases(model)


def router_biases(model: ArcticModel) -> Iterator[tuple[str, Tensor]]:
    """The router's bias [E] of each layer, sharing memory with the model: its only buffers, none in most models."""
    yield from model.named_buffers()
