"""The cost of Muon, by formula: elements updated, matrices split over workers, products, and memory. No torch here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arctic_model.config import ArcticConfig
from arctic_model.sizing.flops import layer_matrices

NUM_ITERATIONS = 5
"""Iterations of Newton-Schulz."""
BATCH_ELEMENTS = 2**24
"""Elements orthogonalised in one batch: enough to fill a GPU, few compared with the weights."""
ALIGNMENT = 2
"""DeepSpeed splits a flat group into parts of a multiple of this many elements (`nccl_start_alignment_factor`)."""


@dataclass(frozen=True)
class MuonGroup:
    """Consecutive matrices of a flat tensor, split evenly over `num_parts` workers."""

    shapes: Sequence[tuple[int, int]]
    num_parts: int
    of_experts: bool = False

    @property
    def owned(self) -> int:
        """Elements of one worker, padded to equal parts."""
        whole = sum(map(math.prod, self.shapes))
        return ALIGNMENT * math.ceil(whole / (ALIGNMENT * self.num_parts)) if self.num_parts > 1 else whole

    @property
    def shared(self) -> int:
        """Elements of the split matrices, which workers exchange."""
        return sum(math.prod(shape) for shape, holders in zip(self.shapes, self._holders(), strict=True) if holders > 1)

    @property
    def flops(self) -> float:
        """FLOPs of a step, mean over workers: each orthogonalises the matrices that it holds a part of."""
        counted = zip(self.shapes, self._holders(), strict=True)
        return sum(orthogonalization_flops(*shape) * holders for shape, holders in counted) / self.num_parts

    def batch_bytes(self, element_bytes: int) -> int:
        """Peak memory of the largest batch: its updates in float32, rounded and stacked; or the stack, two iterates and
        two products."""
        batch, product = max(map(self._batch, set(self.shapes)))
        making = (4 + element_bytes + element_bytes % 4) * batch
        return max(making, element_bytes * (3 * batch + 2 * product))

    def working_bytes(self, element_bytes: int) -> int:
        """Peak memory of a step in addition to the float32 gradient: the shared matrices and one batch."""
        return element_bytes * self.shared + self.batch_bytes(element_bytes)

    def _holders(self) -> list[int]:
        """Number of workers that hold a part of each matrix."""
        holders, start, size = [], 0, self.owned
        for shape in self.shapes:
            end = start + math.prod(shape)
            holders.append((end - 1) // size - start // size + 1)
            start = end
        return holders

    def _batch(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Elements of the matrices of `shape` in one batch, and of their products."""
        numel = math.prod(shape)
        held = min(self.shapes.count(shape), self.owned // numel + 2)
        number = min(held, max(1, BATCH_ELEMENTS // numel))
        return number * numel, number * min(shape) ** 2


def muon_groups(
    config: ArcticConfig, local_experts: int, num_parts: tuple[int, int], *, by_layer: bool = False
) -> tuple[MuonGroup, ...]:
    """The dense matrices and `local_experts` experts of all layers, or of each, each group split over its `num_parts`
    workers."""
    up, down = (config.expert_size, config.hidden_size), (config.hidden_size, config.expert_size)
    experts = [up] * local_experts + [down] * local_experts + [up] * local_experts
    dense, split = num_parts
    numbers = range(config.num_layers)
    groups: list[MuonGroup] = []
    for layers in [range(number, number + 1) for number in numbers] if by_layer else [numbers]:
        matrices = [shape for number in layers for shape in layer_matrices(config, number)]
        num_stacks = sum(number in config.moe_layers for number in layers)
        groups += [MuonGroup(matrices, dense), MuonGroup(experts * num_stacks, split, of_experts=True)]
    return tuple(group for group in groups if group.shapes)


def orthogonalization_flops(rows: int, columns: int) -> int:
    """Three products an iteration: x @ x.T, its square, and that times x, with no more rows than columns in x."""
    short, long = sorted((rows, columns))
    return NUM_ITERATIONS * (4 * short * short * long + 2 * short**3)
