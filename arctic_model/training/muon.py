"""Muon: momentum made orthogonal, matrix by matrix, before it is added to the weights.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the step size of Liu et al. 2025 (arXiv 2502.16982,
section 2.2), at which peak_lr and weight_decay are those of AdamW. On one matrix it is `torch.optim.Muon` with
`adjust_lr_fn="match_rms_adamw"`. That one takes whole 2D parameters, each on its own; here a stack of experts is as
many matrices, matrices of one shape are made orthogonal in one batch, and a matrix may be cut between workers, as
ZeRO cuts it: each worker makes those orthogonal that it holds a part of, and only cut ones travel.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from arctic_model.sizing.muon_cost import BATCH_ELEMENTS, NUM_ITERATIONS

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; they maximise the slope at zero (Jordan et al. 2024), as does torch."""
EPSILON = 1e-7
RMS_OF_ADAMW = 0.2
"""Root mean square of a typical update of AdamW (Liu et al. 2025, section 2.2)."""


@dataclass(frozen=True)
class Piece:
    """What a worker holds of a matrix of `shape`: `numel` elements from `first` on, row by row, at `begin` of its
    flat tensor. `shared`: where the whole matrix stands in the buffer that workers exchange, if it is cut."""

    shape: tuple[int, int]
    begin: int
    first: int
    numel: int
    shared: int | None

    @property
    def here(self) -> slice:
        return slice(self.begin, self.begin + self.numel)

    @property
    def inside(self) -> slice:
        return slice(self.first, self.first + self.numel)


@dataclass(frozen=True)
class Partition:
    """A worker's part of matrices that lie one after the other in a flat tensor, cut evenly over `group`."""

    pieces: tuple[Piece, ...]
    num_shared: int = 0
    group: Any = None


def partition(parameters: Iterable[tuple[int, torch.Size]], size: int, rank: int, group: Any = None) -> Partition:
    """Elements `rank * size` to `(rank + 1) * size` of the flat tensor in which each of the `parameters` begins at
    its offset. A stack [E', F, D] is E' matrices."""
    pieces: list[Piece] = []
    num_shared = 0
    for start, shape in _matrices(parameters):
        numel = math.prod(shape)
        cut = start // size != (start + numel - 1) // size
        begin, end = max(start, rank * size), min(start + numel, (rank + 1) * size)
        if begin < end:
            shared = num_shared if cut else None
            pieces.append(Piece(shape, begin - rank * size, begin - start, end - begin, shared))
        num_shared += numel if cut else 0
    return Partition(tuple(pieces), num_shared, group)


def muon_step(
    weights: Float[Tensor, " S"],
    gradient: Float[Tensor, " S"],
    momentum: Float[Tensor, " S"],
    part: Partition,
    *,
    learning_rate: float,
    weight_decay: float,
    dtype: torch.dtype,
) -> None:
    """One update of `weights` and `momentum` in place, flat as `part` describes them; every worker of its group
    calls in step. `dtype` is that of the orthogonalisation."""
    momentum.lerp_(gradient, 1.0 - MOMENTUM)
    update = gradient.lerp(momentum, MOMENTUM).to(dtype)
    shared = _exchanged(update, part)
    weights.mul_(1.0 - learning_rate * weight_decay)
    for pieces in _batches(part.pieces):
        _step_batch(weights, [_whole(piece, update, shared) for piece in pieces], pieces, learning_rate)


def orthogonalized(matrices: Float[Tensor, "N A B"]) -> Float[Tensor, "N A B"]:
    """Each matrix with its singular values near 1, in the dtype it came in."""
    a, b, c = COEFFICIENTS
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=EPSILON)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if matrices.shape[1] > matrices.shape[2] else x


def _step_batch(weights: Tensor, updates: list[Tensor], pieces: list[Piece], learning_rate: float) -> None:
    """Nothing of a batch is held when the next one begins."""
    for piece, matrix in zip(pieces, orthogonalized(torch.stack(updates)), strict=True):
        step_size = learning_rate * RMS_OF_ADAMW * math.sqrt(max(piece.shape))
        weights[piece.here].add_(matrix.flatten()[piece.inside], alpha=-step_size)


def _matrices(parameters: Iterable[tuple[int, torch.Size]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Offset and shape of every single matrix."""
    for offset, shape in parameters:
        rows, columns = shape[-2:]
        for number in range(math.prod(shape[:-2])):
            yield offset + number * rows * columns, (rows, columns)


def _exchanged(update: Tensor, part: Partition) -> Tensor:
    """The cut matrices, whole: every worker adds its elements to zeros, so the sum is exact."""
    shared = update.new_zeros(part.num_shared)
    if part.num_shared:
        for piece in part.pieces:
            if piece.shared is not None:
                shared[piece.shared :][piece.inside] = update[piece.here]
        dist.all_reduce(shared, group=part.group)
    return shared


def _whole(piece: Piece, update: Tensor, shared: Tensor) -> Tensor:
    if piece.shared is None:
        return update[piece.here].view(piece.shape)
    return shared[piece.shared :][: math.prod(piece.shape)].view(piece.shape)


def _batches(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces of equal shape, as many as make up a batch."""
    for shape in dict.fromkeys(piece.shape for piece in pieces):
        equal = (piece for piece in pieces if piece.shape == shape)
        while batch := list(islice(equal, max(1, BATCH_ELEMENTS // math.prod(shape)))):
            yield batch
