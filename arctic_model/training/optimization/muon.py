"""Muon: orthogonalises the momentum of each matrix before adding it to the weights.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the step size of Liu et al. 2025 (arXiv 2502.16982, section
2.2), which reuses peak_lr and weight_decay of AdamW. On one matrix it equals `torch.optim.Muon` with
`adjust_lr_fn="match_rms_adamw"`. torch's takes whole 2D parameters one by one. Here a stack of experts counts as many
matrices, matrices of one shape are orthogonalised in one batch, and a matrix may be split over workers, as ZeRO splits
it: each worker orthogonalises the matrices that it holds a part of, and only split ones are exchanged.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from arctic_model.sizing.muon_cost import BATCH_ELEMENTS, NUM_ITERATIONS

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; they maximise the slope at zero (Jordan et al. 2024), as does torch."""
EPSILON = 1e-7
CPU_BATCH_ELEMENTS = 2**19
"""As `BATCH_ELEMENTS`, on a CPU, whose cache holds no more: of 2**16 to 2**24 the fastest, in bfloat16 by a tenth."""
RMS_OF_ADAMW = 0.2
"""Root mean square of a typical update of AdamW (Liu et al. 2025, section 2.2)."""


@dataclass(frozen=True)
class MatrixBlock:
    """The part of a matrix of `shape` that a worker holds: `numel` elements from `first` on, row by row, at `begin` of
    its flat tensor. `shared`: offset of the whole matrix in the buffer that workers exchange, None if not split."""

    shape: tuple[int, int]
    begin: int
    first: int
    numel: int
    shared: int | None

    @property
    def local(self) -> slice:
        """Elements of the worker's flat tensor."""
        return slice(self.begin, self.begin + self.numel)

    @property
    def inside(self) -> slice:
        """Elements of the flat matrix."""
        return slice(self.first, self.first + self.numel)


@dataclass(frozen=True)
class Partition:
    """One worker's part of consecutive matrices in a flat tensor, split evenly over `group`."""

    blocks: tuple[MatrixBlock, ...]
    num_shared: int = 0
    group: Any = None


def partition(parameters: Iterable[tuple[int, torch.Size]], size: int, rank: int, group: Any = None) -> Partition:
    """The blocks in elements `rank * size` to `(rank + 1) * size` of a flat tensor.

    Args:
        parameters: offset in the flat tensor and shape of each; a stack [E', F, D] counts as E' matrices.
        size: elements per worker.
        rank: number of this worker in `group`.
        group: the workers that hold the other parts.
    """
    blocks: list[MatrixBlock] = []
    num_shared = 0
    for start, shape in _matrices(parameters):
        numel = math.prod(shape)
        cut = start // size != (start + numel - 1) // size
        begin, end = max(start, rank * size), min(start + numel, (rank + 1) * size)
        if begin < end:
            shared = num_shared if cut else None
            blocks.append(MatrixBlock(shape, begin - rank * size, begin - start, end - begin, shared))
        num_shared += numel if cut else 0
    return Partition(tuple(blocks), num_shared, group)


class FlatMatrices(NamedTuple):
    """One worker's elements of consecutive matrices [S]: weights, their gradient and momentum, and which they are."""

    weights: Float[Tensor, " S"]
    gradient: Float[Tensor, " S"]
    momentum: Float[Tensor, " S"]
    part: Partition


def muon_step(
    tensors: Sequence[FlatMatrices], *, learning_rate: float, weight_decay: float, dtype: torch.dtype
) -> None:
    """Update weights and momentum of all `tensors` in place; matrices of one shape in one batch, whichever tensor they
    are in. All workers of a partition's group call in step. `dtype` is that of the orthogonalisation."""
    torch._foreach_mul_([each.weights for each in tensors], 1.0 - learning_rate * weight_decay)
    blocks: list[tuple[FlatMatrices, MatrixBlock, Tensor]] = []
    for each in tensors:
        shared = _exchanged(each, dtype)
        blocks += [(each, block, shared) for block in each.part.blocks]
    for batch in _batches(blocks):
        _step_batch(batch, learning_rate, dtype)


def orthogonalized(matrices: Float[Tensor, "N A B"]) -> Float[Tensor, "N A B"]:
    """The matrices with their singular values moved near 1, in the same dtype."""
    a, b, c = COEFFICIENTS
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=EPSILON)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    orthogonal: Tensor = x.mT if matrices.shape[1] > matrices.shape[2] else x
    return orthogonal


def _step_batch(
    batch: list[tuple[FlatMatrices, MatrixBlock, Tensor]], learning_rate: float, dtype: torch.dtype
) -> None:
    """A separate function, so that a batch is freed before the next one is built."""
    step_size = learning_rate * RMS_OF_ADAMW * math.sqrt(max(batch[0][1].shape))
    orthogonal = orthogonalized(_stacked_updates(batch, dtype))
    for (each, block, _), matrix in zip(batch, orthogonal, strict=True):
        each.weights[block.local].add_(matrix.flatten()[block.inside], alpha=-step_size)


def _stacked_updates(
    batch: list[tuple[FlatMatrices, MatrixBlock, Tensor]], dtype: torch.dtype
) -> Float[Tensor, "N A B"]:
    """The updates of a batch before they are made orthogonal; those of split matrices are exchanged by now."""
    whole = iter(_mixed([(each, block) for each, block, _ in batch if block.shared is None]))
    updates = [
        next(whole) if block.shared is None else shared[block.shared :][: math.prod(block.shape)]
        for _, block, shared in batch
    ]
    stacked = torch.stack([update.to(dtype) for update in updates])
    return stacked.view(len(batch), *batch[0][1].shape)


def _mixed(blocks: list[tuple[FlatMatrices, MatrixBlock]]) -> Sequence[Float[Tensor, " S"]]:
    """Nesterov's mix of gradient and momentum, after the momentum's own step."""
    if not blocks:
        return ()
    gradients, momenta = (
        [getattr(each, name)[block.local] for each, block in blocks] for name in ("gradient", "momentum")
    )
    torch._foreach_lerp_(momenta, gradients, 1.0 - MOMENTUM)
    return torch._foreach_lerp(gradients, momenta, MOMENTUM)


def _matrices(parameters: Iterable[tuple[int, torch.Size]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Offset and shape of every single matrix."""
    for offset, shape in parameters:
        rows, columns = shape[-2:]
        for number in range(math.prod(shape[:-2])):
            yield offset + number * rows * columns, (rows, columns)


def _exchanged(each: FlatMatrices, dtype: torch.dtype) -> Float[Tensor, " X"]:
    """The updates of split matrices, whole: every worker adds its elements to zeros, so the sum is exact."""
    shared = each.gradient.new_zeros(each.part.num_shared, dtype=dtype)
    if each.part.num_shared:
        split = [block for block in each.part.blocks if block.shared is not None]
        for block, update in zip(split, _mixed([(each, block) for block in split]), strict=True):
            shared[block.shared :][block.inside] = update.to(dtype)
        dist.all_reduce(shared, group=each.part.group)
    return shared


def _batches(
    blocks: Sequence[tuple[FlatMatrices, MatrixBlock, Tensor]],
) -> Iterator[list[tuple[FlatMatrices, MatrixBlock, Tensor]]]:
    """Blocks of matrices of one shape, batch by batch."""
    num_elements = CPU_BATCH_ELEMENTS if blocks and blocks[0][0].weights.is_cpu else BATCH_ELEMENTS
    for shape in dict.fromkeys(block.shape for _, block, _ in blocks):
        equal = (each for each in blocks if each[1].shape == shape)
        while batch := list(islice(equal, max(1, num_elements // math.prod(shape)))):
            yield batch
