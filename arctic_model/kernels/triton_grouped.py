"""Kernels in Triton for products within groups of rows, where torch has none: in float32, and before Hopper.

The device reads the ends of the groups, so the host waits for nothing. Every element is summed in one order by one
program. `arctic_model.kernels.on_gpu` launches them.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def rows_times_matrices(
    rows,
    matrices,
    ends,
    out,
    num_groups,
    inner,
    width,
    row_stride,
    row_inner_stride,
    group_stride,
    inner_stride,
    column_stride,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """A program per tile: up to ROWS rows of one group, by COLUMNS columns. There are at most num_groups tiles more
    than without groups; `out` is contiguous [M, width]."""
    tile = tl.program_id(0)
    groups = tl.arange(0, GROUPS)
    group_ends = tl.load(ends + groups, mask=groups < num_groups, other=0)
    begins = tl.load(ends + groups - 1, mask=(groups > 0) & (groups < num_groups), other=0)
    tiles = (group_ends - begins + ROWS - 1) // ROWS
    last_tiles = tl.cumsum(tiles, axis=0)
    group = tl.sum((last_tiles <= tile).to(tl.int32), axis=0)
    if group < num_groups:
        is_own = groups == group
        begin = tl.sum(tl.where(is_own, begins + (tile - last_tiles + tiles) * ROWS, 0), axis=0)
        end = tl.sum(tl.where(is_own, group_ends, 0), axis=0)
        row = begin.to(tl.int64) + tl.arange(0, ROWS)[:, None]
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        of_row, of_column = (
            rows + row * row_stride,
            matrices + group.to(tl.int64) * group_stride + column * column_stride,
        )
        total = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
        for start in range(0, inner, INNER):
            left = start + tl.arange(0, INNER)[None, :]
            right = start + tl.arange(0, INNER)[:, None]
            a = tl.load(of_row + left * row_inner_stride, mask=(row < end) & (left < inner), other=0.0)
            b = tl.load(of_column + right * inner_stride, mask=(right < inner) & (column < width), other=0.0)
            total = tl.dot(a, b, total, input_precision="ieee")
        tl.store(out + row * width + column, total, mask=(row < end) & (column < width))


@triton.jit
def products_of_groups(
    left,
    right,
    ends,
    out,
    height,
    width,
    left_height_stride,
    left_row_stride,
    right_row_stride,
    right_width_stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """A program per group and tile of its product: `left` [height, M] times `right` [M, width] within the group's rows.
    `out` is contiguous [E, height, width]."""
    group = tl.program_id(2)
    end = tl.load(ends + group)
    begin = tl.load(ends + group - 1, mask=group > 0, other=0)
    y = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    for start in range(0, end - begin, INNER):
        first = begin.to(tl.int64) + start + tl.arange(0, INNER)[None, :]
        second = begin.to(tl.int64) + start + tl.arange(0, INNER)[:, None]
        a = tl.load(
            left + y * left_height_stride + first * left_row_stride, mask=(y < height) & (first < end), other=0.0
        )
        b = tl.load(
            right + second * right_row_stride + x * right_width_stride, mask=(second < end) & (x < width), other=0.0
        )
        total = tl.dot(a, b, total, input_precision="ieee")
    tl.store(out + (group.to(tl.int64) * height + y) * width + x, total, mask=(y < height) & (x < width))
