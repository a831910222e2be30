"""Products of each group's rows with the matrix of that group: up to the inner width F of an MLP, and down to D.

Without groups one matrix multiplies all rows. In padded groups inner values are stored column by column: oneDNN packs
the second factor for the matrix unit, and an expert has fewer rows than weights. With the rows as the second factor,
the products with w1 and w3 and the gradients of both take two thirds of the time.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from arctic_model.kernels.row_groups import Groups, PaddedGroups


def up_projection(
    rows: Float[Tensor, "M D"], matrices: Float[Tensor, "*E D F"], groups: Groups | None
) -> Float[Tensor, "M F"]:
    """Inner values: each row times its group's matrix."""
    return _inner_values(rows, matrices, groups, columns=False)


def inner_projection(
    inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F R"], groups: Groups | None
) -> Float[Tensor, "M R"]:
    """Each row of inner values times the matrix of its group, as inner values of another width."""
    return _inner_values(inner, matrices, groups, columns=True)


def add_inner_projection(
    total: Float[Tensor, "M R"], inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F R"], groups: Groups | None
) -> Float[Tensor, "M R"]:
    """Add `inner_projection(inner, matrices, groups)` to the inner values `total` in place.

    Returns:
        `total`.
    """
    if not isinstance(groups, PaddedGroups):
        return total.add_(_product(inner, matrices, groups))
    parts, outs = groups.parts(inner, columns=True), groups.parts(total, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), outs, strict=True):
        add = out.mT.baddbmm_ if out.dim() == 3 else out.mT.addmm_
        add(matrix.mT, part.mT)
    return total


def down_projection(
    inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F D"], groups: Groups | None
) -> Float[Tensor, "M D"]:
    """Each row of inner values times the matrix of its group."""
    if not isinstance(groups, PaddedGroups):
        return _product(inner, matrices, groups)
    rows = inner.new_empty(len(inner), matrices.shape[2])
    parts = groups.parts(inner, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), groups.parts(rows), strict=True):
        _multiply(part, matrix, out=out)
    return rows


def add_down_projection(
    rows: Float[Tensor, "M D"], inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F D"], groups: Groups | None
) -> Float[Tensor, "M D"]:
    """Add `down_projection(inner, matrices, groups)` to `rows` in place, inside the product if the kernel can.

    Returns:
        `rows`.
    """
    if groups is None:
        return rows.addmm_(inner, matrices)
    if isinstance(groups, Tensor):
        return rows.add_(down_projection(inner, matrices, groups))
    parts = groups.parts(inner, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), groups.parts(rows), strict=True):
        add = out.baddbmm_ if out.dim() == 3 else out.addmm_
        add(part, matrix)
    return rows


def outer_product(
    left: Float[Tensor, "M A"],
    right: Float[Tensor, "M B"],
    groups: Groups | None,
    *,
    inner: Literal["left", "right", "both"],
) -> Float[Tensor, "*E A B"]:
    """`left.T @ right` of each group: the gradient of its matrix. `inner` names the factors that have inner values."""
    if not isinstance(groups, PaddedGroups):
        return _product(left.T, right, groups)
    lefts, rights = groups.parts(left, columns=inner != "right"), groups.parts(right, columns=inner != "left")
    products = torch.bmm(lefts[0].mT, rights[0])
    for product, a, b in zip(groups.matrices(products)[1:], lefts[1:], rights[1:], strict=True):
        product.addmm_(a.T, b)
    return products


def _inner_values(rows: Tensor, matrices: Tensor, groups: Groups | None, *, columns: bool) -> Tensor:
    """`columns`: whether the rows are inner values themselves."""
    if not isinstance(groups, PaddedGroups):
        return _product(rows, matrices, groups)
    inner = rows.new_empty(len(rows), matrices.shape[2])
    parts, outs = groups.parts(rows, columns=columns), groups.parts(inner, columns=True)
    for part, matrix, out in zip(parts, groups.matrices(matrices), outs, strict=True):
        _multiply(matrix.mT, part.mT, out=out.mT)
    return inner


def _product(rows: Tensor, matrices: Tensor, ends: Tensor | None) -> Tensor:
    return rows @ matrices if ends is None else F.grouped_mm(rows, matrices, offs=ends)


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> None:
    multiply = torch.bmm if a.dim() == 3 else torch.mm
    multiply(a, b, out=out)
