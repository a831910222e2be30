"""The released model's names for tensors, and ours for stacks of experts.

In the model all local experts of a layer are one stacked parameter; outside, in checkpoints and in the draw of
initial weights, each expert has its own tensor with the released model's name.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

EXPERTS = "experts"
"""Name of the module that holds the stacks."""
WEIGHT = "weight"
"""Kind of a tensor, as opposed to those that the optimizer stores for it."""


class ParameterSlice(NamedTuple):
    """A contiguous part of the parameter `name`, or of its optimizer state (`kind`): flat float32 values from element
    `start` on. A stack of experts counts as the stack of all experts, over all workers."""

    name: str
    kind: str
    start: int
    values: Float[Tensor, " S"]


def is_expert(name: str) -> bool:
    """Whether the parameter `name` is a stack of experts."""
    return name.rpartition(".")[0].rpartition(".")[2] == EXPERTS


def expert_name(name: str, expert: int) -> str:
    """The name of one expert's matrix in the stack `name`.

    >>> expert_name("model.layers.0.block_sparse_moe.experts.w1", 5)
    'model.layers.0.block_sparse_moe.experts.5.w1.weight'
    """
    prefix, matrix = name.rsplit(".", 1)
    return f"{prefix}.{expert}.{matrix}.weight"


def unstacked(name: str, tensor: Tensor, experts: range) -> Iterator[tuple[str, Tensor]]:
    """The parameter by released names: a stack as one view per expert, anything else as it is."""
    if is_expert(name):
        for expert, matrix in zip(experts, tensor.unbind(0), strict=True):
            yield expert_name(name, expert), matrix
    else:
        yield name, tensor


def logical_tensors(module: nn.Module, experts: range) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of `module` by released names, sharing memory with it; `experts` are the numbers of those it holds.

    The router's biases [E], its only buffers, come last.
    """
    for name, parameter in module.named_parameters():
        yield from unstacked(name, parameter.detach(), experts)
    yield from module.named_buffers()
