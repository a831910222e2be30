"""Products of few rows with weights in memory, and the parts of a layer made of them, compiled by numba.

Their time is that of reading the weights, so they read them once and in order: for 1 to 8 rows in .3 to .6 of the time
of torch's products. A part is one call, since a call of torch costs as much as reading 100 KB.

Imported only if tokens are decoded: numba takes 0.4 s to import, and compiles these once for a machine.

All arrays are float32 and contiguous. `rows` [N, D] are normed, and the result is added to `out` [N, D]. An empty array
means that a model lacks a norm or a bias.
"""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit

_ZERO, _ONE = np.float32(0), np.float32(1)
_OPTIONS: dict[str, Any] = {
    # Sums may be reordered; infinities stay, as masks have them.
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "nogil": True,
    "error_model": "numpy",
}


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # numba finds no folder that it may write to.
        return njit(**_OPTIONS)(function)


@_compiled
@no_type_check
def normed(x, weight, eps):
    """RMSNorm of each row."""
    result = np.empty_like(x)
    for row in range(len(x)):
        squares = _ZERO
        for index in range(x.shape[1]):
            squares += x[row, index] * x[row, index]
        scale = np.float32(_ONE / math.sqrt(squares / np.float32(x.shape[1]) + eps))
        for index in range(x.shape[1]):
            result[row, index] = x[row, index] * weight[index] * scale
    return result


@_compiled
@no_type_check
def multiply(weight, rows):
    """[O, D] and [N, D] -> [N, O]. Four rows share each read of a weight."""
    products = np.empty((len(rows), len(weight)), np.float32)
    fours = len(rows) // 4 * 4
    for output in range(len(weight)):
        for row in range(0, fours, 4):
            one, two, three, four = _ZERO, _ZERO, _ZERO, _ZERO
            for index in range(weight.shape[1]):
                value = weight[output, index]
                one += value * rows[row, index]
                two += value * rows[row + 1, index]
                three += value * rows[row + 2, index]
                four += value * rows[row + 3, index]
            products[row, output], products[row + 1, output] = one, two
            products[row + 2, output], products[row + 3, output] = three, four
        for row in range(fours, len(rows)):
            total = _ZERO
            for index in range(weight.shape[1]):
                total += weight[output, index] * rows[row, index]
            products[row, output] = total
    return products


@_compiled
@no_type_check
def feed_forward(rows, out, w1, w2, w3):
    """SwiGLU: `w1`, `w3` [F, D] and `w2` [D, F]."""
    out += _swiglu(rows, w1, w2, w3)


@_compiled
@no_type_check
def mix_experts(rows, out, gate, bias, top_k, w1, w2, w3):
    """The `top_k` experts of each row by `gate` [E, D], see `arctic_model.moe.router.route`; `w1`, `w3` [E, F, D] and
    `w2` [E, D, F], of which only those of chosen experts are read."""
    shares = _shares(multiply(gate, rows), bias, top_k)
    gathered, numbers = np.empty_like(rows), np.empty(len(rows), np.int64)
    for expert in range(len(gate)):
        count = 0
        for row in range(len(rows)):
            if shares[row, expert] > 0:
                gathered[count] = rows[row]
                numbers[count] = row
                count += 1
        if count:
            products = _swiglu(gathered[:count], w1[expert], w2[expert], w3[expert])
            for index in range(count):
                out[numbers[index]] += shares[numbers[index], expert] * products[index]


@_compiled
@no_type_check
def attend(rows, out, weights, biases, head_norms, eps, rotation, keys, values, position, mask):
    """Attention of one row, the newest of its sequence, which takes `position` in the cache.

    `weights`: of queries [H * C, D], keys and values [G * C, D], output [D, H * C]; `biases`: of the first three;
    `head_norms`: of queries and keys [C]; `rotation`: cosine and sine [C / 2]; `keys`, `values` [G, capacity, C];
    `mask` [position + 1] is added to the scores.
    """
    size = keys.shape[2]
    queries = _rotated(_heads(multiply(weights[0], rows), biases[0], size), head_norms[0], eps, rotation)
    keys[:, position] = _rotated(_heads(multiply(weights[1], rows), biases[1], size), head_norms[1], eps, rotation)
    values[:, position] = _heads(multiply(weights[2], rows), biases[2], size)
    mixed = np.zeros_like(queries)
    for head in range(len(queries)):
        group = head * len(keys) // len(queries)
        scores = multiply(keys[group, : position + 1], queries[head : head + 1])[0]
        scores = _softmax(scores / np.float32(math.sqrt(size)) + mask)
        for index in range(position + 1):
            for channel in range(size):
                mixed[head, channel] += scores[index] * values[group, index, channel]
    out += multiply(weights[3], mixed.reshape(1, -1))


@_compiled
@no_type_check
def _swiglu(rows, w1, w2, w3):
    hidden, up = multiply(w1, rows), multiply(w3, rows)
    for row in range(len(hidden)):
        for index in range(hidden.shape[1]):
            gate = hidden[row, index]
            hidden[row, index] = gate / (_ONE + np.float32(math.exp(-gate))) * up[row, index]
    return multiply(w2, hidden)


@_compiled
@no_type_check
def _shares(logits, bias, top_k):
    """[N, E] -> the weights of the experts of each row, 0 of those that are not chosen."""
    shares = np.zeros_like(logits)
    for row in range(len(logits)):
        scores = _softmax(logits[row])
        choice = scores + bias if len(bias) else scores.copy()
        total = _ZERO
        for _ in range(top_k):
            expert = np.argmax(choice)
            choice[expert] = -np.inf
            shares[row, expert] = scores[expert]
            total += scores[expert]
        shares[row] /= total
    return shares


@_compiled
@no_type_check
def _heads(projected, bias, size):
    """[1, heads * size] -> [heads, size]"""
    if len(bias):
        projected[0] += bias
    return projected.reshape(-1, size)


@_compiled
@no_type_check
def _rotated(heads, norm, eps, rotation):
    if len(norm):
        heads = normed(heads, norm, eps)
    cos, sin = rotation
    half = len(cos)
    for head in range(len(heads)):
        for index in range(half):
            one, other = heads[head, index], heads[head, index + half]
            heads[head, index] = one * cos[index] - other * sin[index]
            heads[head, index + half] = other * cos[index] + one * sin[index]
    return heads


@_compiled
@no_type_check
def _softmax(scores):
    powers = np.empty_like(scores)
    largest, total = scores.max(), _ZERO
    for index in range(len(scores)):
        powers[index] = np.float32(math.exp(scores[index] - largest))
        total += powers[index]
    return powers / total
