"""The two layouts of grouped rows that `arctic_model.kernels.grouped_products` multiplies fastest."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PADDED = {("cpu", torch.bfloat16)}
"""Devices and dtypes whose rows are laid out as PaddedGroups.

On a CPU in bfloat16 grouped_mm calls oneDNN expert by expert, which builds a kernel for every new number of rows. In
float32 both layouts are about as fast. A GPU has one kernel for all groups, either of torch or ours: with padding, the
host would have to wait for the numbers of rows."""
ALIGNED_BYTES = 16
"""The rows of all factors of grouped_mm must be a multiple of this many bytes, on a CPU and on a GPU."""
ROWS_MULTIPLE = 16
"""A tile of a matrix unit (AMX: 16 rows); few enough lengths that oneDNN builds few kernels."""
ROWS_PER_PRODUCT = 128
"""Cost of starting one more product, as the number of rows that could be multiplied meanwhile."""


class Overflow(NamedTuple):
    """Rows `begin` to `end` belong to `group`."""

    group: int
    begin: int
    end: int


@dataclass(frozen=True)
class PaddedGroups:
    """Layout for one batched product of all groups and one product more for each long group.

    The first `length` rows of every group come first, padded to `length`; then the `overflows`, the remaining rows of
    longer groups, each padded to a multiple of ROWS_MULTIPLE. Padding may hold any numbers if their gradients are zero.
    """

    counts: tuple[int, ...]
    length: int
    overflows: tuple[Overflow, ...]

    @classmethod
    def of(cls, counts: list[int]) -> "PaddedGroups":
        """The cheapest layout of groups of `counts` rows: one batch for an even load, and a separate product for a
        group much longer than the others."""
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
        """Rows of the layout, with padding."""
        return self.overflows[-1].end if self.overflows else len(self.counts) * self.length

    def positions_and_sources(self) -> tuple[Int[Tensor, " M"], Int[Tensor, " R"]]:
        """The position in the layout of each of M rows sorted by group, and the row at each of R positions (M at
        padding)."""
        counts = np.array(self.counts)
        group = np.arange(len(counts)).repeat(counts)
        number = np.arange(len(group)) - (counts.cumsum() - counts)[group]
        behind = np.zeros_like(counts)
        for overflow in self.overflows:
            behind[overflow.group] = overflow.begin
        positions = np.where(number < self.length, group * self.length + number, behind[group] + number - self.length)
        sources = np.full(self.num_rows, len(positions))
        sources[positions] = np.arange(len(positions))
        return torch.from_numpy(positions), torch.from_numpy(sources)

    def parts(self, values: Float[Tensor, "R A"], *, columns: bool = False) -> list[Tensor]:
        """The rows of every group as views: [E, length, A] of the batch and [n, A] of each overflow. With `columns`
        each part is stored column by column, otherwise row by row."""
        num_batched = len(self.counts) * self.length
        parts = [values[:num_batched].unflatten(0, (len(self.counts), self.length))]
        parts += [values[begin:end] for _, begin, end in self.overflows]
        return [part.view(*part.shape[:-2], part.shape[-1], part.shape[-2]).mT for part in parts] if columns else parts

    def matrices(self, stack: Float[Tensor, "E A B"]) -> list[Tensor]:
        """The matrix of each of `parts`."""
        return [stack, *(stack[group] for group, _, _ in self.overflows)]


Groups: TypeAlias = Tensor | PaddedGroups
"""The ends of contiguous groups (int32): group e ends before row `ends[e]`; or a padded layout."""


def are_padded(rows: Float[Tensor, "N D"], *inner_widths: int) -> bool:
    """Whether rows of this kind, projected to each of `inner_widths` and back, are laid out as PaddedGroups: if that is
    faster, or if grouped_mm would refuse one of the widths."""
    unaligned = any(width * rows.element_size() % ALIGNED_BYTES for width in (rows.shape[1], *inner_widths))
    return unaligned or (rows.device.type, rows.dtype) in PADDED


def lay_out(ends: Int[Tensor, " E"], num_rows: int, *, padded: bool) -> Groups:
    """Contiguous groups that end before row `ends[e]`, `num_rows` in all, in one of the two layouts."""
    # grouped_mm refuses to multiply no rows at all.
    return PaddedGroups.of(ends.diff(prepend=ends.new_zeros(1)).tolist()) if padded or not num_rows else ends.int()


def arrange(
    groups: Groups, order: Int[Tensor, " M"], inverse: Int[Tensor, " A"], filler: int
) -> tuple[Int[Tensor, " R"], Int[Tensor, " A"]]:
    """Move a permutation into the layout of `groups`.

    Args:
        order: the item at each of M rows sorted by group.
        inverse: the row of each item, M for none.
        filler: the item at padding.

    Returns:
        The item at each of R rows of the layout, and the row of each item, R for none.
    """
    if isinstance(groups, Tensor):
        return order, inverse
    positions, sources = (index.to(order.device) for index in groups.positions_and_sources())
    order, positions = F.pad(order, (0, 1), value=filler), F.pad(positions, (0, 1), value=groups.num_rows)
    return order.index_select(0, sources), positions.index_select(0, inverse)
