"""Kernels in Triton for the operators of `arctic_model.kernels.operators`. They compute in float32.

No kernel adds with atomics, so equal inputs give equal bits. `arctic_model.kernels.on_gpu` launches them.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def rms_norms(
    x,
    addend,
    weight0,
    weight1,
    total,
    out0,
    out1,
    scales,
    width,
    eps,
    NUM_NORMS: tl.constexpr,
    HAS_ADDEND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program per row [D] of `x + addend`; all are contiguous."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    place = row * width + column
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if HAS_ADDEND:
        values += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
        # The norm is that of the sum as it is stored.
        rounded = values.to(total.dtype.element_ty)
        tl.store(total + place, rounded, mask=inside)
        values = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
    tl.store(scales + row, scale)
    normed = values * scale
    tl.store(out0 + place, normed * tl.load(weight0 + column, mask=inside).to(tl.float32), mask=inside)
    if NUM_NORMS > 1:
        tl.store(out1 + place, normed * tl.load(weight1 + column, mask=inside).to(tl.float32), mask=inside)


@triton.jit
def rms_norms_backward(
    residual,
    gradient0,
    gradient1,
    x,
    weight0,
    weight1,
    scales,
    x_gradient,
    weight_gradients,
    num_rows,
    width,
    NUM_NORMS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program per ROWS rows, with its part of the gradients of the weights: [programs, NUM_NORMS, D] in float32."""
    program = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    w0 = tl.load(weight0 + column, mask=inside, other=0.0).to(tl.float32)
    sum0 = tl.zeros([BLOCK], dtype=tl.float32)
    if NUM_NORMS > 1:
        w1 = tl.load(weight1 + column, mask=inside, other=0.0).to(tl.float32)
        sum1 = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(program * ROWS, tl.minimum((program + 1) * ROWS, num_rows)):
        place = row * width + column
        scale = tl.load(scales + row)
        normed = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * scale
        d0 = tl.load(gradient0 + place, mask=inside, other=0.0).to(tl.float32)
        sum0 += d0 * normed
        weighted = d0 * w0
        if NUM_NORMS > 1:
            d1 = tl.load(gradient1 + place, mask=inside, other=0.0).to(tl.float32)
            sum1 += d1 * normed
            weighted += d1 * w1
        along = tl.sum(weighted * normed, axis=0) / width
        total = (weighted - normed * along) * scale
        total += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(x_gradient + place, total, mask=inside)
    write = weight_gradients + program * NUM_NORMS * width + column
    tl.store(write, sum0, mask=inside)
    if NUM_NORMS > 1:
        tl.store(write + width, sum1, mask=inside)


@triton.jit
def swiglu(gate, up, out, width, gate_stride, up_stride, BLOCK: tl.constexpr):
    """A program per row [F] and block of it; `out` is contiguous."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    g = tl.load(gate + row * gate_stride + column, mask=inside).to(tl.float32)
    u = tl.load(up + row * up_stride + column, mask=inside).to(tl.float32)
    tl.store(out + row * width + column, g * tl.sigmoid(g) * u, mask=inside)


@triton.jit
def swiglu_backward(
    gradient,
    gate,
    up,
    gate_gradient,
    up_gradient,
    inner,
    width,
    gradient_stride,
    gate_stride,
    up_stride,
    gate_gradient_stride,
    up_gradient_stride,
    HAS_INNER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program per row [F] and block of it; `inner` is contiguous."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    d = tl.load(gradient + row * gradient_stride + column, mask=inside).to(tl.float32)
    g = tl.load(gate + row * gate_stride + column, mask=inside).to(tl.float32)
    u = tl.load(up + row * up_stride + column, mask=inside).to(tl.float32)
    sigmoid = tl.sigmoid(g)
    activated = g * sigmoid
    tl.store(gate_gradient + row * gate_gradient_stride + column, d * u * (sigmoid + activated * (1 - sigmoid)), inside)
    tl.store(up_gradient + row * up_gradient_stride + column, d * activated, mask=inside)
    if HAS_INNER:
        tl.store(inner + row * width + column, activated * u, mask=inside)


@triton.jit
def quantized_rows(matrix, values, scales, width, BLOCK: tl.constexpr):
    """A program per row; all are contiguous."""
    row = tl.program_id(0).to(tl.int64)
    largest = 0.0
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(matrix + row * width + column, mask=column < width, other=0.0).to(tl.float32)
        # `tl.max` drops NaN; infinity replaces it.
        x = tl.where(x == x, tl.abs(x), float("inf"))
        largest = tl.maximum(largest, tl.max(x, axis=0))
    exponent = ((largest.to(tl.int32, bitcast=True) + 0x1FFFFF) >> 23) - 8
    scale = (tl.minimum(tl.maximum(exponent, 1), 254) << 23).to(tl.float32, bitcast=True)
    tl.store(scales + row, tl.where(largest < float("inf"), scale, largest))
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(matrix + row * width + column, mask=column < width, other=0.0).to(tl.float32)
        tl.store(values + row * width + column, (x / scale).to(tl.float8e4nv), mask=column < width)


@triton.jit
def rotate(
    part0,
    part1,
    part2,
    cos,
    sin,
    out,
    direction,
    num_heads,
    num_rotated,
    half,
    end0,
    end1,
    token_stride0,
    token_stride1,
    token_stride2,
    head_stride0,
    head_stride1,
    head_stride2,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    """A program per token. The parts end before heads `end0`, `end1` and `num_heads`; `out` is contiguous [N, H, C]."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    pair = tl.arange(0, HALF)[None, :]
    first, second = _pairs(part0, token * token_stride0, head, 0, end0, head_stride0, pair, half)
    more = _pairs(part1, token * token_stride1, head, end0, end1, head_stride1, pair, half)
    last = _pairs(part2, token * token_stride2, head, end1, num_heads, head_stride2, pair, half)
    first, second = first + more[0] + last[0], second + more[1] + last[1]
    rotated = (head < num_rotated) & (pair < half)
    c = tl.load(cos + token * half + pair, mask=pair < half, other=0.0)
    s = tl.load(sin + token * half + pair, mask=pair < half, other=0.0) * direction
    write = out + (token * num_heads + head) * 2 * half + pair
    inside = (head < num_heads) & (pair < half)
    tl.store(write, tl.where(rotated, first * c - second * s, first), mask=inside)
    tl.store(write + half, tl.where(rotated, second * c + first * s, second), mask=inside)


@triton.jit
def _pairs(part, offset, head, begin, end, head_stride, pair, half):
    """Both halves of the heads `begin` to `end`, zeros for all others."""
    inside = (head >= begin) & (head < end) & (pair < half)
    read = part + offset + (head - begin) * head_stride + pair
    first = tl.load(read, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(read + half, mask=inside, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def rows_of_assignments(order, tokens, inverse, num_assignments, num_rows, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    """A program per block of rows."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    assignment = tl.load(order + row, mask=row < num_assignments, other=0)
    tl.store(tokens + row, assignment // TOP_K, mask=row < num_rows)
    tl.store(inverse + assignment, tl.minimum(row, num_rows), mask=row < num_assignments)


@triton.jit
def weighted_sum(
    rows,
    index,
    weights,
    base0,
    base1,
    out,
    num_rows,
    width,
    TOP_K: tl.constexpr,
    HAS_WEIGHTS: tl.constexpr,
    NUM_BASES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program per token and block of its row."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for k in tl.static_range(TOP_K):
        row = tl.load(index + token * TOP_K + k).to(tl.int64)
        mask = column < tl.where(row < num_rows, width, 0)
        values = tl.load(rows + row * width + column, mask=mask, other=0.0).to(tl.float32)
        if HAS_WEIGHTS:
            values *= tl.load(weights + token * TOP_K + k).to(tl.float32)
        total += values
    if NUM_BASES > 0:
        total += tl.load(base0 + token * width + column, mask=inside).to(tl.float32)
    if NUM_BASES > 1:
        total += tl.load(base1 + token * width + column, mask=inside).to(tl.float32)
    tl.store(out + token * width + column, total, mask=inside)


@triton.jit
def weighted_sum_backward(
    gradient,
    rows,
    weights,
    index,
    rows_gradient,
    weights_gradient,
    num_rows,
    width,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program per token: its gradient is read once for all of its rows."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    d = tl.load(gradient + token * width + column, mask=inside, other=0.0).to(tl.float32)
    for k in tl.static_range(TOP_K):
        row = tl.load(index + token * TOP_K + k).to(tl.int64)
        mask = column < tl.where(row < num_rows, width, 0)
        values = tl.load(rows + row * width + column, mask=mask, other=0.0).to(tl.float32)
        tl.store(weights_gradient + token * TOP_K + k, tl.sum(values * d, axis=0))
        weight = tl.load(weights + token * TOP_K + k).to(tl.float32)
        tl.store(rows_gradient + row * width + column, weight * d, mask=mask)


@triton.jit
def softmax_residual(logits, columns, nll, out, vocabulary, logits_stride, out_stride, BLOCK: tl.constexpr):
    """A program per row: one pass for maximum and sum, one that writes (Milakov and Gimelshein 2018, arXiv
    1805.02867)."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(columns + row)
    largest = float("-inf")
    total = 0.0
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        values = tl.load(logits + row * logits_stride + column, mask=column < vocabulary, other=float("-inf"))
        values = values.to(tl.float32)
        above = tl.maximum(largest, tl.max(values, axis=0))
        total = total * tl.exp(largest - above) + tl.sum(tl.exp(values - above), axis=0)
        largest = above
    at_target = tl.load(logits + row * logits_stride + target).to(tl.float32)
    tl.store(nll + row, largest + tl.log(total) - at_target)
    # The target's logit is read before the loop below may overwrite it.
    tl.debug_barrier()
    for start in range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < vocabulary
        values = tl.load(logits + row * logits_stride + column, mask=inside, other=float("-inf")).to(tl.float32)
        residual = tl.exp(values - largest) / total - (column == target).to(tl.float32)
        tl.store(out + row * out_stride + column, residual, mask=inside)
