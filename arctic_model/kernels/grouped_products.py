"""Products of each group's rows with its own matrix, from the model's width to the inner one of an MLP and back.

Without groups there is one matrix for all rows. In padded groups inner values stand in columns: oneDNN first packs
the second factor for the matrix unit, and an expert has fewer rows than weights. With the rows as second factor the
products with w1 and w3, and the gradients of both, take two thirds of the time.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.kernels.row_groups import Groups, PaddedGroups


def widen(rows: Float[Tensor, "M D"], matrices: Float[Tensor, "*E D F"], groups: Groups | None) -> Float[Tensor, "M F"]:
    """Inner values: each row times its group's matrix."""
    if not isinstance(groups, PaddedGroups):
        return _product(rows, matrices, groups)
    inner = rows.new_empty(len(rows), matrices.shape[2])
    outs = groups.parts(inner, columns=True)
    for part, matrix, out in zip(groups.parts(rows), groups.matrices(matrices), outs, strict=True):
        _multiply(matrix.mT, part.mT, out=out.mT)
    return inner


def narrow(
    inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F D"], groups: Groups | None
) -> Float[Tensor, "M D"]:
    """Each row of inner values times its group's matrix."""
    if not isinstance(groups, PaddedGroups):
        return _product(inner, matrices, groups)
    rows = inner.new_empty(len(inner), matrices.shape[2])
    parts = groups.parts(inner, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), groups.parts(rows), strict=True):
        _multiply(part, matrix, out=out)
    return rows


def add_narrow(
    rows: Float[Tensor, "M D"], inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F D"], groups: Groups | None
) -> Float[Tensor, "M D"]:
    """`rows`, to which `narrow(inner, matrices, groups)` is added in place, while a sum is at hand where the kernel
    can."""
    if groups is None:
        return rows.addmm_(inner, matrices)
    if isinstance(groups, Tensor):
        return rows.add_(narrow(inner, matrices, groups))
    parts = groups.parts(inner, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), groups.parts(rows), strict=True):
        add = out.baddbmm_ if out.dim() == 3 else out.addmm_
        add(part, matrix)
    return rows


def outer_product(
    left: Float[Tensor, "M A"], right: Float[Tensor, "M B"], groups: Groups | None, *, inner: Literal["left", "right"]
) -> Float[Tensor, "*E A B"]:
    """`left.T @ right` of each group: the gradient of its matrix. One of the two has the `inner` values."""
    if not isinstance(groups, PaddedGroups):
        return _product(left.T, right, groups)
    lefts, rights = groups.parts(left, columns=inner == "left"), groups.parts(right, columns=inner == "right")
    products = torch.bmm(lefts[0].mT, rights[0])
    for product, a, b in zip(groups.matrices(products)[1:], lefts[1:], rights[1:], strict=True):
        product.addmm_(a.T, b)
    return products


def _product(rows: Tensor, matrices: Tensor, ends: Tensor | None) -> Tensor:
    return rows @ matrices if ends is None else F.grouped_mm(rows, matrices, offs=ends)


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> None:
    multiply = torch.bmm if a.dim() == 3 else torch.mm
    multiply(a, b, out=out)
