"""Products of each group's rows with the matrix of that group: up to the inner width F of an MLP, and down to D.

Without groups one matrix multiplies all rows. In padded groups inner values are stored column by column: oneDNN packs
the second factor for the matrix unit, and an expert has fewer rows than weights. With the rows as the second factor,
the products with w1 and w3 and the gradients of both take two thirds of the time.

With `fp8` the factors are quantized (`arctic_model.kernels.fp8_products`); `outer_product` never quantizes.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.kernels.fp8_products import matrix_product, rounded_factors, scaled_product
from arctic_model.kernels.operators import grouped_product
from arctic_model.kernels.row_groups import Groups, PaddedGroups


def up_projection(
    rows: Float[Tensor, "M D"], matrices: Float[Tensor, "*E D F"], groups: Groups | None, *, fp8: bool = False
) -> Float[Tensor, "M F"]:
    """Inner values: each row times its group's matrix."""
    return _inner_values(rows, matrices, groups, columns=False, fp8=fp8)


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
    inner: Float[Tensor, "M F"], matrices: Float[Tensor, "*E F D"], groups: Groups | None, *, fp8: bool = False
) -> Float[Tensor, "M D"]:
    """Each row of inner values times the matrix of its group."""
    if not isinstance(groups, PaddedGroups):
        return _product(inner, matrices, groups, fp8=fp8)
    rows = inner.new_empty(len(inner), matrices.shape[2])
    factors = _factors(groups.parts(inner, columns=True), groups.matrices(matrices), fp8)
    for (part, matrix), out in zip(factors, groups.parts(rows), strict=True):
        _multiply(part, matrix, out=out)
    return rows


def add_down_projection(
    rows: Float[Tensor, "M D"],
    inner: Float[Tensor, "M F"],
    matrices: Float[Tensor, "*E F D"],
    groups: Groups | None,
    *,
    fp8: bool = False,
) -> Float[Tensor, "M D"]:
    """Add `down_projection(inner, matrices, groups)` to `rows` in place, inside the product if the kernel can.

    Returns:
        `rows`.
    """
    if groups is None and not fp8:
        return rows.addmm_(inner, matrices)
    if not isinstance(groups, PaddedGroups):
        return rows.add_(down_projection(inner, matrices, groups, fp8=fp8))
    factors = _factors(groups.parts(inner, columns=True), groups.matrices(matrices), fp8)
    for (part, matrix), out in zip(factors, groups.parts(rows), strict=True):
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


def _inner_values(rows: Tensor, matrices: Tensor, groups: Groups | None, *, columns: bool, fp8: bool = False) -> Tensor:
    """`columns`: whether the rows are inner values themselves."""
    if not isinstance(groups, PaddedGroups):
        return _product(rows, matrices, groups, fp8=fp8)
    inner = rows.new_empty(len(rows), matrices.shape[2])
    factors = _factors(groups.parts(rows, columns=columns), groups.matrices(matrices), fp8)
    for (part, matrix), out in zip(factors, groups.parts(inner, columns=True), strict=True):
        _multiply(matrix.mT, part.mT, out=out.mT)
    return inner


def _product(rows: Tensor, matrices: Tensor, ends: Tensor | None, *, fp8: bool = False) -> Tensor:
    if ends is None:
        return matrix_product(rows, matrices, fp8=fp8)
    if fp8 and not rows.is_cpu:
        return scaled_product(rows, matrices, ends)
    return grouped_product(*(rounded_factors(rows, matrices) if fp8 else (rows, matrices)), ends)


def _factors(parts: Iterable[Tensor], matrices: Iterable[Tensor], fp8: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and matrix of each part of a padded layout."""
    pairs = zip(parts, matrices, strict=True)
    return (rounded_factors(*pair) for pair in pairs) if fp8 else pairs


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> None:
    multiply = torch.bmm if a.dim() == 3 else torch.mm
    multiply(a, b, out=out)
