"""A mixture of experts over few rows, compiled by numba: the rows of each chosen expert, one expert after the other.

Arrays are as in `arctic_model.inference.cpu.row_kernels`. An empty array means that a router lacks a bias.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from arctic_model.inference.cpu import row_kernels
from arctic_model.inference.cpu.row_kernels import (
    LONG,
    OPTIONS,
    PARALLEL,
    TILE,
    gate_outputs,
    multiply,
    multiply_outputs,
    num_tiles,
    softmax,
)
from arctic_model.machine_code import compiler

_ZERO = np.float32(0)
compiled, in_parallel = compiler(row_kernels, **OPTIONS), compiler(row_kernels, **OPTIONS, parallel=PARALLEL)


@compiled
@no_type_check
def mix_experts(rows, out, gate, bias, top_k, w1, w2, w3):
    """The `top_k` experts of each row by `gate` [E, D], see `arctic_model.moe.router.route`; `w1`, `w3` [E, F, D] and
    `w2` [E, D, F], of which only those of chosen experts are read. Threads start twice for all experts."""
    shares = expert_shares(multiply(gate, rows), bias, top_k)
    numbers, first, used = by_expert(shares, top_k)
    products = _lowered(_gated(rows[numbers], first, used, w1, w3), first, used, w2)
    for expert in used:
        for index in range(first[expert], first[expert + 1]):
            out[numbers[index]] += shares[numbers[index], expert] * products[index]


@compiled
@no_type_check
def by_expert(shares, top_k):
    """The rows that chose each expert, one expert after the other; where those of each begin; and the experts that have
    any."""
    experts = shares.shape[1]
    numbers, first = np.empty(len(shares) * top_k, np.int64), np.zeros(experts + 1, np.int64)
    used, count, total = np.empty(experts, np.int64), 0, 0
    for expert in range(experts):
        for row in range(len(shares)):
            if shares[row, expert] > 0:
                numbers[total] = row
                total += 1
        first[expert + 1] = total
        if total > first[expert]:
            used[count] = expert
            count += 1
    return numbers[:total], first, used[:count]


@in_parallel
@no_type_check
def _gated(rows, first, used, w1, w3):
    """[n, D] by expert -> their inner values [n, F]."""
    hidden, tiles = np.empty((len(rows), w1.shape[1]), np.float32), num_tiles(w1.shape[1])
    up = np.empty_like(hidden)
    if len(used) * w1[0].size < LONG:
        for unit in range(len(used) * tiles):
            _gate_tile(rows, first, used[unit // tiles], w1, w3, unit % tiles, hidden, up)
    else:
        for unit in prange(len(used) * tiles):
            _gate_tile(rows, first, used[unit // tiles], w1, w3, unit % tiles, hidden, up)
    return hidden


@compiled
@no_type_check
def _gate_tile(rows, first, expert, w1, w3, tile, hidden, up):
    part, outputs = slice(first[expert], first[expert + 1]), min((tile + 1) * TILE, w1.shape[1])
    gate_outputs(w1[expert], w3[expert], tile * TILE, outputs, rows[part], hidden[part], up[part])


@in_parallel
@no_type_check
def _lowered(hidden, first, used, w2):
    """[n, F] by expert -> their outputs [n, D]."""
    products, tiles = np.empty((len(hidden), w2.shape[1]), np.float32), num_tiles(w2.shape[1])
    if len(used) * w2[0].size < LONG:
        for unit in range(len(used) * tiles):
            _lower_tile(hidden, first, used[unit // tiles], w2, unit % tiles, products)
    else:
        for unit in prange(len(used) * tiles):
            _lower_tile(hidden, first, used[unit // tiles], w2, unit % tiles, products)
    return products


@compiled
@no_type_check
def _lower_tile(hidden, first, expert, w2, tile, products):
    part, end = slice(first[expert], first[expert + 1]), min((tile + 1) * TILE, w2.shape[1])
    multiply_outputs(w2[expert], tile * TILE, end, hidden[part], products[part])


@compiled
@no_type_check
def expert_shares(logits, bias, top_k):
    """[N, E] -> the weights of the experts of each row, 0 of those that are not selected."""
    shares = np.zeros_like(logits)
    selected, weights = np.empty(top_k, np.int64), np.empty(top_k, np.float32)
    for row in range(len(logits)):
        choose(logits[row], bias, selected, weights)
        for rank in range(top_k):
            shares[row, selected[rank]] = weights[rank]
    return shares


@compiled
@no_type_check
def choose(logits, bias, selected, shares):
    """Write the experts of one row and their weights, see `arctic_model.moe.router.route`."""
    probabilities = softmax(logits)
    choice = probabilities + bias if len(bias) else probabilities.copy()
    total = _ZERO
    for rank in range(len(selected)):
        expert = np.argmax(choice)
        choice[expert] = -np.inf
        selected[rank], shares[rank] = expert, probabilities[expert]
        total += probabilities[expert]
    shares /= total
