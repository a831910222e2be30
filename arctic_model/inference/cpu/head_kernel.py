"""Attention of one head of one new id to the keys that its sequence has in memory, compiled by numba."""

import math
from typing import no_type_check

import numpy as np
from numba.np.numpy_support import carray

from arctic_model.inference.cpu import addresses, row_kernels
from arctic_model.inference.cpu.addresses import numbers_at, pointer
from arctic_model.inference.cpu.row_kernels import OPTIONS, TILE, dot, to_powers
from arctic_model.machine_code import compiler

_ONE, _BYTES = np.float32(1), 4
compiled = compiler(row_kernels, addresses, **OPTIONS)


@compiled
@no_type_check
def mix_head(layer, slot, head, projected, mixed, turn, mask):
    """The values that the query of a head takes. The first head of a group adds the new key and value to the cache; the
    others may run before it, so none reads these from there.

    Args:
        layer: record of `arctic_model.inference.cpu.token_kernel.LAYER`.
        slot: that holds the sequence.
        projected: queries, keys and values of the id.
        mixed: [H * C], written in part.
        turn: [2, C / 2], cosine and sine of the position.
        mask: [S], added to the scores of the keys, of which the last is the id's own.
    """
    channels, position = layer.channels, len(mask) - 1
    shared = layer.heads // layer.groups
    group = head // shared
    begin = (layer.heads + group) * channels
    query = _rotated(projected[head * channels :], numbers_at(layer.query_norm, channels), layer.eps, turn)
    query *= np.float32(_ONE / math.sqrt(channels))
    new_key = _rotated(projected[begin:], numbers_at(layer.key_norm, channels), layer.eps, turn)
    new_value = projected[begin + layer.groups * channels :][:channels]
    offset, shape = (slot * layer.groups + group) * layer.capacity * channels * _BYTES, (layer.capacity, channels)
    keys = carray(pointer(layer.cached_keys + offset), shape, np.float32)
    values = carray(pointer(layer.cached_values + offset), shape, np.float32)
    if head % shared == 0:
        keys[position], values[position] = new_key, new_value
    sinks = numbers_at(layer.sinks, layer.heads)[head : head + 1]
    scores = np.empty(len(mask) + len(sinks), np.float32)
    for index in range(position):
        scores[index] = dot(keys[index], query) + mask[index]
    scores[position] = dot(new_key, query) + mask[position]
    scores[len(mask) :] = sinks
    sum_of_powers = to_powers(scores)
    total = scores[position] * new_value
    _add_values(scores, values[:position], total)
    mixed[head * channels : (head + 1) * channels] = total / sum_of_powers


@compiled
@no_type_check
def _add_values(scores, values, total):
    """Four values at a time, so that the sum is read and written once for them."""
    by_four = len(values) // TILE * TILE
    for index in range(0, by_four, TILE):
        a, b, c, d = scores[index], scores[index + 1], scores[index + 2], scores[index + 3]
        for channel in range(len(total)):
            first = a * values[index, channel] + b * values[index + 1, channel]
            total[channel] += first + (c * values[index + 2, channel] + d * values[index + 3, channel])
    for index in range(by_four, len(values)):
        for channel in range(len(total)):
            total[channel] += scores[index] * values[index, channel]


@compiled
@no_type_check
def _rotated(projected, norm, eps, turn):
    """A new array of the head that `projected` begins with."""
    cos, sin, half = turn[0], turn[1], turn.shape[1]
    head, result = projected[: 2 * half], np.empty(2 * half, np.float32)
    if len(norm):
        head = normed(head, norm, eps)
    for index in range(half):
        one, other = head[index], head[index + half]
        result[index] = one * cos[index] - other * sin[index]
        result[index + half] = other * cos[index] + one * sin[index]
    return result


@compiled
@no_type_check
def normed(x, weight, eps):
    """RMSNorm, as a new array."""
    scale = np.float32(_ONE / math.sqrt(dot(x, x) / np.float32(len(x)) + eps))
    result = np.empty_like(x)
    for index in range(len(x)):
        result[index] = x[index] * weight[index] * scale
    return result
