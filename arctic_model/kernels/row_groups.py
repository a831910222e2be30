"""Rows by group, in the two layouts in which `arctic_model.kernels.grouped_products` multiplies them fastest."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PADDED = {("cpu", torch.bfloat16)}
"""Devices and dtypes for which rows are laid out as PaddedGroups.

On a CPU in bfloat16 grouped_mm goes through oneDNN expert by expert and builds a kernel for every number of rows that
it has not met. In float32 the two are about as fast. A GPU has one kernel for all groups in bfloat16; in float32 torch
has none for it and multiplies group by group. To learn the numbers of rows, the host would wait for the GPU."""
ALIGNED_BYTES = 16
"""grouped_mm takes rows and matrices whose rows are a multiple of so many bytes, on a CPU as on a GPU."""
ROWS_MULTIPLE = 16
"""A tile of a matrix unit (AMX: 16 rows), and few enough lengths that oneDNN meets each only once."""
ROWS_PER_PRODUCT = 128
"""What one more product costs to start, as the rows that could be multiplied meanwhile."""


class Overflow(NamedTuple):
    """Rows `begin` to `end` belong to `group`."""

    group: int
    begin: int
    end: int


@dataclass(frozen=True)
class PaddedGroups:
    """The first `length` rows of every group, filled up, for one batched product; behind them the `overflows`, what
    the longer groups have beyond, each filled up to a multiple of ROWS_MULTIPLE. What fills up may be any numbers, if
    their gradients are zero."""

    counts: tuple[int, ...]
    length: int
    overflows: tuple[Overflow, ...]

    @classmethod
    def of(cls, counts: list[int]) -> "PaddedGroups":
        """The cheapest layout of groups of `counts` rows: an even load makes one batch, a group that is much longer
        than the others a product of its own."""
        rounded = -(-np.array(counts) // ROWS_MULTIPLE) * ROWS_MULTIPLE
        lengths = np.unique(rounded)
        beyond = np.maximum(rounded - lengths[:, None], 0)
        cost = len(counts) * lengths + beyond.sum(1) + ROWS_PER_PRODUCT * (beyond > 0).sum(1)
        best = cost.argmin()
        length = int(lengths[best])
        end = length * len(counts)
        overflows = []
        for group in beyond[best].nonzero()[0].tolist():
            overflows.append(Overflow(group, end, end := end + int(beyond[best, group])))
        return cls(tuple(counts), length, tuple(overflows))

    @property
    def num_rows(self) -> int:
        """Rows of the layout, with what fills it up."""
        return self.overflows[-1].end if self.overflows else len(self.counts) * self.length

    def places_and_sources(self) -> tuple[Int[Tensor, " M"], Int[Tensor, " R"]]:
        """Where the rows of groups, one behind the other, stand in the layout; and which row stands at each of its
        places, M at those that are filled up."""
        counts = np.array(self.counts)
        group = np.arange(len(counts)).repeat(counts)
        number = np.arange(len(group)) - (counts.cumsum() - counts)[group]
        behind = np.zeros_like(counts)
        for overflow in self.overflows:
            behind[overflow.group] = overflow.begin
        places = np.where(number < self.length, group * self.length + number, behind[group] + number - self.length)
        sources = np.full(self.num_rows, len(places))
        sources[places] = np.arange(len(places))
        return torch.from_numpy(places), torch.from_numpy(sources)

    def parts(self, values: Float[Tensor, "R A"], *, columns: bool = False) -> list[Tensor]:
        """The rows of every group as views: [E, N, A] of the batch and [n, A] of each overflow. With `columns` those
        of a part stand in memory column by column, where else they stand row by row."""
        num_batched = len(self.counts) * self.length
        parts = [values[:num_batched].unflatten(0, (len(self.counts), self.length))]
        parts += [values[begin:end] for _, begin, end in self.overflows]
        return [part.view(*part.shape[:-2], part.shape[-1], part.shape[-2]).mT for part in parts] if columns else parts

    def matrices(self, stack: Float[Tensor, "E A B"]) -> list[Tensor]:
        """The matrix of each of `parts`."""
        return [stack, *(stack[group] for group, _, _ in self.overflows)]


Groups: TypeAlias = Tensor | PaddedGroups
"""Group e ends before row `ends[e]` (int32) and the last with the rows; or rows in the layout of padded groups."""


def are_padded(rows: Float[Tensor, "N D"], inner_width: int) -> bool:
    """Whether rows of this kind, multiplied to `inner_width` and back, are laid out as PaddedGroups: where that is
    faster, and where grouped_mm would refuse one of the two widths."""
    unaligned = any(width * rows.element_size() % ALIGNED_BYTES for width in (rows.shape[1], inner_width))
    return unaligned or (rows.device.type, rows.dtype) in PADDED


def lay_out(counts: Int[Tensor, " E"], num_rows: int, *, padded: bool) -> Groups:
    """Groups of `counts` rows, `num_rows` in all, in one of the two layouts."""
    # grouped_mm refuses to multiply no rows at all.
    return PaddedGroups.of(counts.tolist()) if padded or not num_rows else counts.cumsum(0).int()


def arrange(
    groups: Groups, order: Int[Tensor, " M"], inverse: Int[Tensor, " A"], filler: int
) -> tuple[Int[Tensor, " R"], Int[Tensor, " A"]]:
    """`order`, what stands in each row of groups one behind the other, in their layout, `filler` where it is filled up;
    and `inverse`, in which row something stands, M if in none."""
    if isinstance(groups, Tensor):
        return order, inverse
    places, sources = (index.to(order.device) for index in groups.places_and_sources())
    order, places = F.pad(order, (0, 1), value=filler), F.pad(places, (0, 1), value=groups.num_rows)
    return order.index_select(0, sources), places.index_select(0, inverse)
