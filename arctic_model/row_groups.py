"""Rows by group, and the products of each group's rows with its own matrix, in two layouts."""

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

    def batch(self, rows: Tensor) -> Float[Tensor, "E N _"]:
        return rows[: len(self.counts) * self.length].unflatten(0, (len(self.counts), self.length))


Groups: TypeAlias = Tensor | PaddedGroups
"""Group e ends before row `ends[e]` (int32) and the last with the rows; or rows in the layout of padded groups."""


def lay_out(counts: Int[Tensor, " E"], num_rows: int, dtype: torch.dtype) -> Groups:
    """The layout in which groups of `counts` rows, `num_rows` in all, are multiplied fastest."""
    # grouped_mm refuses to multiply no rows at all.
    if num_rows and (counts.device.type, dtype) not in PADDED:
        return counts.cumsum(0).int()
    return PaddedGroups.of(counts.tolist())


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


def product(rows: Float[Tensor, "M A"], matrices: Float[Tensor, "*E A B"], groups: Groups | None) -> Tensor:
    """Each row times its group's matrix, [M, B]; without groups there is one matrix, [A, B]."""
    if groups is None:
        return rows @ matrices
    if isinstance(groups, Tensor):
        return F.grouped_mm(rows, matrices, offs=groups)
    products = rows.new_empty(len(rows), matrices.shape[2])
    torch.bmm(groups.batch(rows), matrices, out=groups.batch(products))
    for group, begin, end in groups.overflows:
        torch.mm(rows[begin:end], matrices[group], out=products[begin:end])
    return products


def add_product(
    total: Float[Tensor, "M B"],
    rows: Float[Tensor, "M A"],
    matrices: Float[Tensor, "*E A B"],
    groups: Groups | None,
) -> Float[Tensor, "M B"]:
    """`product(rows, matrices, groups)` added to `total` in place, while the sum is at hand where the kernel can."""
    if groups is None:
        return total.addmm_(rows, matrices)
    if isinstance(groups, Tensor):
        return total.add_(product(rows, matrices, groups))
    groups.batch(total).baddbmm_(groups.batch(rows), matrices)
    for group, begin, end in groups.overflows:
        total[begin:end].addmm_(rows[begin:end], matrices[group])
    return total


def outer_product(
    rows: Float[Tensor, "M A"], others: Float[Tensor, "M B"], groups: Groups | None
) -> Float[Tensor, "*E A B"]:
    """`rows.T @ others` of each group: the gradient of its matrix. Without groups one matrix, [A, B]."""
    if groups is None:
        return rows.T @ others
    if isinstance(groups, Tensor):
        return F.grouped_mm(rows.T, others, offs=groups)
    products = torch.bmm(groups.batch(rows).mT, groups.batch(others))
    for group, begin, end in groups.overflows:
        products[group].addmm_(rows[begin:end].T, others[begin:end])
    return products
