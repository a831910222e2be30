"""Products of few rows with weights in memory, and the experts made of them, compiled by numba.

Their time is that of reading the weights, so they read them once and in order, and call for them ahead: for 1 to 8
rows in .3 to .6 of the time of torch's products. All experts are one call, since a call of torch costs as much as
reading 100 KB.

Imported only if tokens are decoded: numba takes 0.4 s to import, and compiles these once for a machine.

All arrays are float32 and contiguous. Weights may also be the bits of bfloat16 as uint16, widened in registers: half
the bytes are read, and the results are those of float32. `rows` [N, D] are normed, and the result is added to
`out` [N, D]. An empty array means that a router lacks a bias.
"""

import importlib
import math
import platform
from typing import Any, no_type_check

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import prange, types
from numba.core.cgutils import get_item_pointer, get_or_insert_function
from numba.extending import intrinsic, overload

from arctic_model.machine_code import compiler

TILE, AHEAD, LONG = 4, 2, 2**16
"""Outputs and rows that a product computes together; outputs between the one that is computed and the one whose weights
are called from memory meanwhile; numbers to read from which several threads start: one core needs 7
microseconds for these, and the start takes 1.3, or far longer if another program has the second core."""
_LINE_BYTES, _READ, _SECOND_CACHE, _DATA = 64, 0, 2, 1
"""Of LLVM's `prefetch`: for reading, locality, of data."""
_HAS_MANY_REGISTERS = platform.machine() not in ("x86_64", "AMD64") or get_host_cpu_features().get("avx512f", False)
"""Whether this processor has 32 registers for vectors: x86 without AVX-512 has 16."""
_ZERO, _ONE = np.float32(0), np.float32(1)
OPTIONS: dict[str, Any] = {
    # Sums may be reordered; infinities stay, as masks have them.
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "nogil": True,
    "error_model": "numpy",
}


def _shares_threads() -> bool:
    """Whether numba has OpenMP, whose threads are those of torch if that was imported first. Its other threads may not
    be used by several callers at a time."""
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        return False
    return True


_IS_PARALLEL = _shares_threads()
PARALLEL = {"numpy": False} if _IS_PARALLEL else False
"""Loops over prange only: a whole array here is shorter than the start of a thread."""
compiled, in_parallel = compiler(**OPTIONS), compiler(**OPTIONS, parallel=PARALLEL)


def use_threads(count: int) -> None:
    """Let the kernels that this thread calls use `count` threads."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def num_threads() -> int:
    """Threads of the kernels that this thread calls."""
    return int(numba.get_num_threads()) if _IS_PARALLEL else 1


def _wide(weight: Any) -> Any:
    """A weight in float32, by its type in compiled code."""
    raise NotImplementedError


@overload(_wide)
@no_type_check
def _compiled_wide(weight):
    if weight == types.uint16:
        return lambda weight: np.uint32(np.uint32(weight) << np.uint32(16)).view(np.float32)
    return lambda weight: weight


@in_parallel
@no_type_check
def multiply(weight, rows):
    """[O, D] and [N, D] -> [N, O]."""
    products, tiles = np.empty((len(rows), len(weight)), np.float32), -(-len(weight) // TILE)
    if weight.size < LONG:
        for tile in range(tiles):
            _multiply_tiles(weight, tile, rows, products)
    else:
        for tile in prange(tiles):
            _multiply_tiles(weight, tile, rows, products)
    return products


@compiled
@no_type_check
def mix_experts(rows, out, gate, bias, top_k, w1, w2, w3):
    """The `top_k` experts of each row by `gate` [E, D], see `arctic_model.moe.router.route`; `w1`, `w3` [E, F, D] and
    `w2` [E, D, F], of which only those of chosen experts are read. Threads start twice for all experts."""
    shares = _shares(multiply(gate, rows), bias, top_k)
    numbers, first, chosen = _by_expert(shares, top_k)
    products = _lowered(_gated(rows[numbers], first, chosen, w1, w3), first, chosen, w2)
    for expert in chosen:
        for index in range(first[expert], first[expert + 1]):
            out[numbers[index]] += shares[numbers[index], expert] * products[index]


@compiled
@no_type_check
def _by_expert(shares, top_k):
    """The rows that chose each expert, one expert after the other; where those of each begin; and the experts that have
    any."""
    experts = shares.shape[1]
    numbers, first = np.empty(len(shares) * top_k, np.int64), np.zeros(experts + 1, np.int64)
    chosen, count, total = np.empty(experts, np.int64), 0, 0
    for expert in range(experts):
        for row in range(len(shares)):
            if shares[row, expert] > 0:
                numbers[total] = row
                total += 1
        first[expert + 1] = total
        if total > first[expert]:
            chosen[count] = expert
            count += 1
    return numbers[:total], first, chosen[:count]


@compiled
@no_type_check
def dot(weight, row):
    total = _ZERO
    for index in range(len(row)):
        total += _wide(weight[index]) * row[index]
    return total


@compiled
@no_type_check
def _multiply_tiles(weight, tile, rows, products):
    """The outputs of one tile, of all rows. Memory is read fastest in order: the first rows read it, output by output,
    and the others find it in the cache."""
    first, end = tile * TILE, min((tile + 1) * TILE, len(weight))
    by_four = len(rows) // TILE * TILE
    by_output = min(by_four, TILE) if end - first == TILE else by_four
    for output in range(first, end):
        if len(rows) >= TILE and output + AHEAD < len(weight):
            _call(weight, output + AHEAD)
        for row in range(0, by_output, TILE):
            _multiply_four(weight, output, rows, row, products)
        for row in range(by_four, len(rows)):
            products[row, output] = dot(weight[output], rows[row])
    for row in range(by_output, by_four, TILE):
        if _HAS_MANY_REGISTERS:
            _multiply_tile(weight, first, rows, row, products)
        else:
            _multiply_pair(weight, first, rows, row, products)
            _multiply_pair(weight, first + 2, rows, row, products)


@compiled
@no_type_check
def _call(weight, output):
    """Call the weights of an output from memory into the second cache, without waiting."""
    for index in range(0, weight.shape[1], _LINE_BYTES // weight.itemsize):
        _prefetch(weight, output, index)


@intrinsic
@no_type_check
def _prefetch(typing, array, output, index):  # noqa: ARG001 - numba's own signature
    def code(context, builder, signature, arguments):
        kind = signature.args[0]
        values = context.make_array(kind)(context, builder, arguments[0])
        number, address = ir.IntType(32), ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        prefetch = get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        pointer = builder.bitcast(get_item_pointer(context, builder, kind, values, arguments[1:]), address)
        builder.call(prefetch, [pointer, number(_READ), number(_SECOND_CACHE), number(_DATA)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), code


@compiled
@no_type_check
def _multiply_four(weight, output, rows, row, products):
    a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
    for index in range(weight.shape[1]):
        number = _wide(weight[output, index])
        a, b = a + number * rows[row, index], b + number * rows[row + 1, index]
        c, d = c + number * rows[row + 2, index], d + number * rows[row + 3, index]
    for offset, total in enumerate((a, b, c, d)):
        products[row + offset, output] = total


@compiled
@no_type_check
def _multiply_pair(weight, output, rows, row, products):
    """Two outputs of four rows: as many sums as sixteen registers hold beside what they read."""
    a0, a1, a2, a3 = _ZERO, _ZERO, _ZERO, _ZERO
    b0, b1, b2, b3 = _ZERO, _ZERO, _ZERO, _ZERO
    for index in range(weight.shape[1]):
        a, b = _wide(weight[output, index]), _wide(weight[output + 1, index])
        x0, x1, x2, x3 = rows[row, index], rows[row + 1, index], rows[row + 2, index], rows[row + 3, index]
        a0, a1, a2, a3 = a0 + a * x0, a1 + a * x1, a2 + a * x2, a3 + a * x3
        b0, b1, b2, b3 = b0 + b * x0, b1 + b * x1, b2 + b * x2, b3 + b * x3
    for offset, sums in enumerate(((a0, b0), (a1, b1), (a2, b2), (a3, b3))):
        products[row + offset, output], products[row + offset, output + 1] = sums


@compiled
@no_type_check
def _multiply_tile(weight, output, rows, row, products):
    """Four outputs of four rows. All sums stay in registers: eight reads for sixteen products."""
    a0, a1, a2, a3 = _ZERO, _ZERO, _ZERO, _ZERO
    b0, b1, b2, b3 = _ZERO, _ZERO, _ZERO, _ZERO
    c0, c1, c2, c3 = _ZERO, _ZERO, _ZERO, _ZERO
    d0, d1, d2, d3 = _ZERO, _ZERO, _ZERO, _ZERO
    for index in range(weight.shape[1]):
        a, b = _wide(weight[output, index]), _wide(weight[output + 1, index])
        c, d = _wide(weight[output + 2, index]), _wide(weight[output + 3, index])
        x0, x1, x2, x3 = rows[row, index], rows[row + 1, index], rows[row + 2, index], rows[row + 3, index]
        a0, a1, a2, a3 = a0 + a * x0, a1 + a * x1, a2 + a * x2, a3 + a * x3
        b0, b1, b2, b3 = b0 + b * x0, b1 + b * x1, b2 + b * x2, b3 + b * x3
        c0, c1, c2, c3 = c0 + c * x0, c1 + c * x1, c2 + c * x2, c3 + c * x3
        d0, d1, d2, d3 = d0 + d * x0, d1 + d * x1, d2 + d * x2, d3 + d * x3
    for place, sums in enumerate(((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3))):
        for offset, total in enumerate(sums):
            products[row + place, output + offset] = total


@in_parallel
@no_type_check
def _gated(rows, first, chosen, w1, w3):
    """[n, D] by expert -> their inner values [n, F]."""
    hidden, tiles = np.empty((len(rows), w1.shape[1]), np.float32), -(-w1.shape[1] // TILE)
    up = np.empty_like(hidden)
    if len(chosen) * w1[0].size < LONG:
        for unit in range(len(chosen) * tiles):
            _gate_tile(rows, first, chosen[unit // tiles], w1, w3, unit % tiles, hidden, up)
    else:
        for unit in prange(len(chosen) * tiles):
            _gate_tile(rows, first, chosen[unit // tiles], w1, w3, unit % tiles, hidden, up)
    return hidden


@compiled
@no_type_check
def _gate_tile(rows, first, expert, w1, w3, tile, hidden, up):
    begin, end = first[expert], first[expert + 1]
    _multiply_tiles(w1[expert], tile, rows[begin:end], hidden[begin:end])
    _multiply_tiles(w3[expert], tile, rows[begin:end], up[begin:end])
    for row in range(begin, end):
        for index in range(tile * TILE, min((tile + 1) * TILE, w1.shape[1])):
            hidden[row, index] = silu(hidden[row, index]) * up[row, index]


@in_parallel
@no_type_check
def _lowered(hidden, first, chosen, w2):
    """[n, F] by expert -> their outputs [n, D]."""
    products, tiles = np.empty((len(hidden), w2.shape[1]), np.float32), -(-w2.shape[1] // TILE)
    if len(chosen) * w2[0].size < LONG:
        for unit in range(len(chosen) * tiles):
            _lower_tile(hidden, first, chosen[unit // tiles], w2, unit % tiles, products)
    else:
        for unit in prange(len(chosen) * tiles):
            _lower_tile(hidden, first, chosen[unit // tiles], w2, unit % tiles, products)
    return products


@compiled
@no_type_check
def _lower_tile(hidden, first, expert, w2, tile, products):
    begin, end = first[expert], first[expert + 1]
    _multiply_tiles(w2[expert], tile, hidden[begin:end], products[begin:end])


@compiled
@no_type_check
def _shares(logits, bias, top_k):
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


@compiled
@no_type_check
def silu(gate):
    """gate * sigmoid(gate)"""
    return gate / (_ONE + np.float32(math.exp(-gate)))


@compiled
@no_type_check
def softmax(scores):
    """As a new array. Each loop writes the array that it reads, or none: one that reads an array and writes another
    has two forms, whose sums differ, and takes one by how far apart they are in memory."""
    powers = scores - scores.max()
    for index in range(len(powers)):
        powers[index] = np.float32(math.exp(powers[index]))
    total = _ZERO
    for power in powers:
        total += power
    powers *= _ONE / total
    return powers
