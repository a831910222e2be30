"""Products of few rows with weights in memory, compiled by numba.

Their time is that of reading the weights, so they read them once and in order, and call for them ahead: for 1 to 8
rows in .3 to .6 of the time of torch's products.

Imported only if tokens are decoded: numba takes 0.4 s to import, and compiles these once for a machine.

All arrays are float32 and contiguous. Weights may also be the bits of bfloat16 as uint16, widened in registers: half
the bytes are read, and the results are those of float32.
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
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)
_LOG2_OF_E, _LN_2 = np.float32(math.log2(math.e)), np.float32(math.log(2))
_CEPHES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 1)
_COEFFICIENTS = tuple(np.float32(each) for each in _CEPHES)
_EXPONENT_BIAS, _FRACTION_BITS = 127, 23
"""Of float32."""
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
    outputs, products = len(weight), np.empty((len(rows), len(weight)), np.float32)
    if weight.size < LONG:
        multiply_outputs(weight, 0, outputs, rows, products)
    else:
        for tile in prange(num_tiles(outputs)):
            multiply_outputs(weight, tile * TILE, min((tile + 1) * TILE, outputs), rows, products)
    return products


@compiled
@no_type_check
def dot(weight, row):
    total = _ZERO
    for index in range(len(row)):
        total += _wide(weight[index]) * row[index]
    return total


@compiled
@no_type_check
def num_tiles(outputs):
    return -(-outputs // TILE)


@compiled
@no_type_check
def multiply_outputs(weight, first, end, rows, products):
    """The outputs from `first` to `end`, which begin and end with a tile, of all rows. Memory is read fastest in order:
    the first rows read it, output by output, and the others find it in the cache."""
    by_four = len(rows) // TILE * TILE
    if len(rows) == 1:
        _multiply_row(weight, first, end, rows, 0, products)
        return
    for output in range(first, end, TILE):
        behind = min(output + TILE, end)
        by_output = min(by_four, TILE) if behind - output == TILE else by_four
        if by_output:
            _multiply_in_order(weight, output, behind, rows[:by_output], products)
        for row in range(by_output, by_four, TILE):
            if _HAS_MANY_REGISTERS:
                _multiply_square(weight, output, rows, row, products)
            else:
                _multiply_pair(weight, output, rows, row, products)
                _multiply_pair(weight, output + 2, rows, row, products)
        for row in range(by_four, len(rows)):
            _multiply_row(weight, output, behind, rows, row, products)


@compiled
@no_type_check
def _multiply_in_order(weight, first, end, rows, products):
    for output in range(first, end):
        if output + AHEAD < len(weight):
            _call(weight, output + AHEAD)
        for row in range(0, len(rows), TILE):
            _multiply_four(weight, output, rows, row, products)


@compiled
@no_type_check
def _multiply_row(weight, first, end, rows, row, products):
    for output in range(first, end):
        total = _ZERO
        for index in range(weight.shape[1]):
            total += _wide(weight[output, index]) * rows[row, index]
        products[row, output] = total


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
def _multiply_square(weight, output, rows, row, products):
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


@compiled
@no_type_check
def gate_outputs(w1, w3, first, end, rows, hidden, up):
    """Inner values from `first` to `end`, see `multiply_outputs`. `up`: memory for those that are not gated yet."""
    if len(rows) == 1:
        _gate_row(w1, w3, first, end, rows, hidden)
        return
    multiply_outputs(w1, first, end, rows, hidden)
    multiply_outputs(w3, first, end, rows, up)
    for row in range(len(rows)):
        for index in range(first, end):
            hidden[row, index] = silu(hidden[row, index]) * up[row, index]


@compiled
@no_type_check
def _gate_row(w1, w3, first, end, rows, hidden):
    """Those of the first row. Memory gives two weights at once sooner than one after the other."""
    for output in range(first, end):
        gate, up = _ZERO, _ZERO
        for index in range(w1.shape[1]):
            gate += _wide(w1[output, index]) * rows[0, index]
            up += _wide(w3[output, index]) * rows[0, index]
        hidden[0, output] = silu(gate) * up


@compiled
@no_type_check
def silu(gate):
    """gate * sigmoid(gate)"""
    return gate / (_ONE + exp(-gate))


@compiled
@no_type_check
def exp(x):
    """e ** x of a float32, with a relative error below 4e-7; 0 below -87 and at most e ** 88. Unlike that of the C
    library it is computed for several numbers at once (polynomial of S. L. Moshier's Cephes, expf)."""
    bounded = x if x > _LOWEST else _LOWEST
    bounded = bounded if bounded < _HIGHEST else _HIGHEST
    power = np.floor(bounded * _LOG2_OF_E + _HALF)
    rest = bounded - power * _LN_2
    total = _ZERO
    for coefficient in _COEFFICIENTS:
        total = total * rest + coefficient
    scale = np.int32((np.int32(power) + np.int32(_EXPONENT_BIAS)) << np.int32(_FRACTION_BITS)).view(np.float32)
    result = total * scale
    result = result if x > _LOWEST else _ZERO
    return result if x == x else x


@compiled
@no_type_check
def softmax(scores):
    """As a new array."""
    shares = scores.copy()
    shares *= _ONE / to_powers(shares)
    return shares


@compiled
@no_type_check
def to_powers(scores):
    """Replace scores by e to the power of each, less the highest. Returns their sum. Each loop writes the array that it
    reads, or none: one that reads an array and writes another has two forms, whose sums differ, and takes one by how
    far apart they are in memory."""
    highest, total = np.float32(-np.inf), _ZERO
    for score in scores:
        highest = score if score > highest else highest
    for index in range(len(scores)):
        scores[index] = exp(scores[index] - highest)
    for power in scores:
        total += power
    return total
