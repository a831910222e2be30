"""The pass of one token through all layers and the head, as one compiled call that starts its threads once.

The products of a token are short: starting threads for each of them takes longer than some of them. So every thread
goes through all steps of the pass. In a step it computes range after range of outputs that no other thread has taken,
then waits for the others. A thread that the system runs late leaves its ranges to the others. Each output is summed by
one thread in one order: the bits do not depend on the number of threads.

The ranges get shorter, as in guided self-scheduling (Polychronopoulos and Kuck 1987): memory is read fastest in long
ones, and with short ones at the end all threads end together.

A late thread may read values that a later step overwrites. By then no range is left that it could compute from them.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange, types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic, overload
from numba.np.numpy_support import carray

from arctic_model.inference.cpu import row_kernels
from arctic_model.inference.cpu.row_kernels import OPTIONS, PARALLEL, choose, dot, silu, softmax
from arctic_model.machine_code import compiler

_FIELDS = {
    "sizes": (
        *("width", "heads", "groups", "channels", "capacity", "dense_width"),
        *("experts", "expert_width", "top_k", "experts_read_input"),
    ),
    "norms of D": ("attention_norm", "dense_norm", "experts_norm"),
    "attention": (
        *("query", "key", "value", "output", "query_bias", "key_bias", "value_bias"),
        *("query_norm", "key_norm", "sinks", "cached_keys", "cached_values"),
    ),
    "dense MLP": ("dense_gate", "dense_up", "dense_down"),
    "experts": ("router", "router_bias", "gate", "up", "down"),
}
LAYER = np.dtype([*((name, np.intp) for names in _FIELDS.values() for name in names), ("eps", np.float32)])
"""A layer: its sizes, and the address of each contiguous array, 0 for one that it lacks. `dense_width` or `experts` is
0 for a layer without the dense MLP or the experts. Norms, biases, sinks, `cached_keys` and `cached_values`
[G, capacity, C] are float32."""
STEPS = 6
"""Steps of a layer: queries, keys and values; attention of each head; output; router; gated inner values; down."""
SHORTEST, PATIENCE = 2**13, 2**10
"""Weights of the shortest ranges, which take a microsecond, ten times as long as taking the range. Reads of a counter,
also a microsecond, until a thread that waits lets others run: the late one may need this core."""
_LINE = 8
"""Distance of counters, a cache line: a thread that waits does not slow down those that take ranges."""
_ZERO, _ONE = np.float32(0), np.float32(1)
compiled = compiler(row_kernels, **OPTIONS)
in_parallel = compiler(row_kernels, **OPTIONS, parallel=PARALLEL)
_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
@no_type_check
def _add(typing, counters, index, number):  # noqa: ARG001 - numba's own signature
    """Add to a counter atomically. Returns the number before."""

    def code(context, builder, signature, arguments):
        pointer = _counter(context, builder, signature, arguments)
        return builder.atomic_rmw("add", pointer, arguments[2], "acq_rel")

    return types.int64(counters, index, types.int64), code


@intrinsic
@no_type_check
def _current(typing, counters, index):  # noqa: ARG001 - numba's own signature
    """A counter. This thread also sees all that others wrote before they added to it."""

    def code(context, builder, signature, arguments):
        return builder.load_atomic(_counter(context, builder, signature, arguments), "acquire", 8)

    return types.int64(counters, index), code


@no_type_check
def _counter(context, builder, signature, arguments):
    kind = signature.args[0]
    array = context.make_array(kind)(context, builder, arguments[0])
    return get_item_pointer(context, builder, kind, array, [arguments[1]])


@intrinsic
@no_type_check
def _pointer(typing, address):  # noqa: ARG001 - numba's own signature
    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), code


def new_counters(num_layers: int) -> np.ndarray:
    """For each step the number of ranges taken and that of ranges computed."""
    return np.zeros(2 * (STEPS * num_layers + 1) * _LINE, np.int64)


# numba fails to call a generator whose machine code was kept. That of the functions that call it includes it.
@njit(**OPTIONS)
@no_type_check
def _ranges(team, step, count, width):
    """Those of `count` outputs, with `width` weights each, that this thread computes in a step. The iteration ends when
    all threads have computed theirs."""
    counters, threads = team
    taken, computed, halvings, done = 2 * step * _LINE, (2 * step + 1) * _LINE, 0, 0
    while (count >> halvings) * width > SHORTEST * threads:
        halvings += 1
    ranges, number = (halvings + 1) * threads, _add(counters, taken, 1)
    while number < ranges:
        yield range(_begin(number, halvings, count, threads), _begin(number + 1, halvings, count, threads))
        done += 1
        number = _add(counters, taken, 1)
    _add(counters, computed, done)
    reads = 0
    while _current(counters, computed) < ranges:
        reads += 1
        if reads > PATIENCE:
            _yield()


@compiled
@no_type_check
def _begin(number, halvings, count, threads):
    """The first output of a range. Each turn of `threads` ranges takes half of the outputs that are left, and the last
    turn, after all halvings, takes all."""
    turn, place = divmod(number, threads)
    left = count >> turn if turn <= halvings else 0
    part = left if turn == halvings else left - (left >> 1)
    return count - left + part * place // threads


@no_type_check
def _weights(address, shape, like):
    """The matrices at `address`, of the dtype of `like`."""
    raise NotImplementedError


@overload(_weights)
@no_type_check
def _compiled_weights(address, shape, like):  # noqa: ARG001 - numba's own signature
    dtype = np.uint16 if like.dtype == types.uint16 else np.float32
    return lambda address, shape, like: carray(_pointer(address), shape, dtype)  # noqa: ARG005 - numba's own signature


@compiled
@no_type_check
def _numbers(address, count):
    """`count` numbers at `address`, none if that is 0."""
    return carray(_pointer(address), (count if address else 0,), np.float32)


@in_parallel
@no_type_check
def read_token(x, layers, head, rotation, mask, team):
    """float32 logits [V] behind one id.

    Args:
        x: its embedding [D], overwritten.
        layers: records of LAYER.
        head: weights [V, D], of the dtype of all matrices, and norm [D].
        rotation: [2, C / 2], cosine and sine of its position.
        mask: [S], added to the scores of its keys, of which the last is its own and takes position S - 1 of the cache.
        team: counters from `new_counters`, all 0, and how many threads take part.
    """
    first = layers[0]
    weight, norm = head
    logits, attended = np.empty(len(weight), np.float32), np.empty_like(x)
    projected = np.empty((first.heads + 2 * first.groups) * first.channels, np.float32)
    mixed = np.empty(first.heads * first.channels, np.float32)
    scores = np.empty(layers["experts"].max(), np.float32)
    hidden = np.empty(_inner_width(layers), np.float32)
    for _ in prange(team[1]):
        for number in range(len(layers)):
            layer, step = layers[number], STEPS * number
            _project(layer, step, team, weight, x, projected)
            _mix(layer, step + 1, team, projected, mixed, rotation, mask)
            _add_output(layer, step + 2, team, weight, x, mixed, attended)
            _feed_forward(layer, step + 3, team, weight, x, attended, scores, hidden)
        _multiply(STEPS * len(layers), team, weight, _normed(x, norm, layers[0].eps), logits)
    return logits


@compiled
@no_type_check
def _inner_width(layers):
    """The most inner values of a layer. In a parallel function numba would warn that these sums have one thread."""
    return (layers["dense_width"] + layers["top_k"] * layers["expert_width"]).max()


@compiled
@no_type_check
def _project(layer, step, team, like, x, projected):
    """Queries, keys and values, one after the other."""
    width, size, narrow = layer.width, layer.heads * layer.channels, layer.groups * layer.channels
    query, of_query = _weights(layer.query, (size, width), like), _numbers(layer.query_bias, size)
    key, of_key = _weights(layer.key, (narrow, width), like), _numbers(layer.key_bias, narrow)
    value, of_value = _weights(layer.value, (narrow, width), like), _numbers(layer.value_bias, narrow)
    row = _normed(x, _numbers(layer.attention_norm, width), layer.eps)
    for taken in _ranges(team, step, size + 2 * narrow, width):
        for output in taken:
            if output < size:
                projected[output] = _biased(query, of_query, output, row)
            elif output < size + narrow:
                projected[output] = _biased(key, of_key, output - size, row)
            else:
                projected[output] = _biased(value, of_value, output - size - narrow, row)


@compiled
@no_type_check
def _biased(weight, bias, output, row):
    return dot(weight[output], row) + (bias[output] if len(bias) else _ZERO)


@compiled
@no_type_check
def _mix(layer, step, team, projected, mixed, rotation, mask):
    for taken in _ranges(team, step, layer.heads, SHORTEST):
        for head in taken:
            _mix_head(layer, head, projected, mixed, rotation, mask)


@compiled
@no_type_check
def _mix_head(layer, head, projected, mixed, rotation, mask):
    """The values that the query of a head takes. The first head of a group adds the new key and value to the cache; the
    others may run before it, so none reads these from there."""
    channels, position = layer.channels, len(mask) - 1
    shared = layer.heads // layer.groups
    group = head // shared
    begin = (layer.heads + group) * channels
    query = _rotated(projected[head * channels :], _numbers(layer.query_norm, channels), layer.eps, rotation)
    new_key = _rotated(projected[begin:], _numbers(layer.key_norm, channels), layer.eps, rotation)
    new_value = projected[begin + layer.groups * channels :][:channels]
    shape = layer.groups, layer.capacity, channels
    keys = carray(_pointer(layer.cached_keys), shape, np.float32)[group]
    values = carray(_pointer(layer.cached_values), shape, np.float32)[group]
    if head % shared == 0:
        keys[position], values[position] = new_key, new_value
    sinks = _numbers(layer.sinks, layer.heads)[head : head + 1]
    scores, root = np.empty(len(mask) + len(sinks), np.float32), np.float32(math.sqrt(channels))
    for index in range(position):
        scores[index] = dot(keys[index], query) / root + mask[index]
    scores[position] = dot(new_key, query) / root + mask[position]
    scores[len(mask) :] = sinks
    scores = softmax(scores)
    total = scores[position] * new_value
    for index in range(position):
        for channel in range(channels):
            total[channel] += scores[index] * values[index, channel]
    mixed[head * channels : (head + 1) * channels] = total


@compiled
@no_type_check
def _add_output(layer, step, team, like, x, mixed, attended):
    output = _weights(layer.output, (len(x), len(mixed)), like)
    for taken in _ranges(team, step, len(x), len(mixed)):
        for index in taken:
            attended[index] = x[index] + dot(output[index], mixed)


@compiled
@no_type_check
def _feed_forward(layer, step, team, like, x, attended, scores, hidden):
    """Dense MLP and experts, which write the layer's output to `x`."""
    width, experts = layer.width, layer.experts
    selected, shares = np.empty(layer.top_k, np.int64), np.empty(layer.top_k, np.float32)
    for_dense = for_experts = attended
    if layer.dense_width:
        for_dense = _normed(attended, _numbers(layer.dense_norm, width), layer.eps)
    if experts:
        read = x if layer.experts_read_input else attended
        for_experts = _normed(read, _numbers(layer.experts_norm, width), layer.eps)
        _multiply(step, team, _weights(layer.router, (experts, width), like), for_experts, scores)
        choose(scores[:experts], _numbers(layer.router_bias, experts), selected, shares)
    _gate(layer, step + 1, team, like, for_dense, for_experts, selected, hidden)
    _add_down(layer, step + 2, team, like, attended, selected, shares, hidden, x)


@compiled
@no_type_check
def _gate(layer, step, team, like, for_dense, for_experts, selected, hidden):
    """Inner values of the dense MLP, then those of each selected expert."""
    width, dense, inner = layer.width, layer.dense_width, layer.expert_width
    dense_gate = _weights(layer.dense_gate, (dense, width), like)
    dense_up = _weights(layer.dense_up, (dense, width), like)
    gate = _weights(layer.gate, (layer.experts, inner, width), like)
    up = _weights(layer.up, (layer.experts, inner, width), like)
    for taken in _ranges(team, step, dense + len(selected) * inner, 2 * width):
        for output in taken:
            if output < dense:
                hidden[output] = silu(dot(dense_gate[output], for_dense)) * dot(dense_up[output], for_dense)
            else:
                rank, index = divmod(output - dense, inner)
                expert = selected[rank]
                hidden[output] = silu(dot(gate[expert, index], for_experts)) * dot(up[expert, index], for_experts)


@compiled
@no_type_check
def _add_down(layer, step, team, like, attended, selected, shares, hidden, out):
    width, dense, inner = layer.width, layer.dense_width, layer.expert_width
    dense_down = _weights(layer.dense_down, (width, dense), like)
    down = _weights(layer.down, (layer.experts, width, inner), like)
    for taken in _ranges(team, step, width, dense + len(selected) * inner):
        for index in taken:
            total = attended[index] + dot(dense_down[index], hidden[:dense])
            for rank in range(len(selected)):
                begin = dense + rank * inner
                total += shares[rank] * dot(down[selected[rank], index], hidden[begin : begin + inner])
            out[index] = total


@compiled
@no_type_check
def _multiply(step, team, weight, row, products):
    for taken in _ranges(team, step, len(weight), len(row)):
        for output in taken:
            products[output] = dot(weight[output], row)


@compiled
@no_type_check
def _rotated(projected, norm, eps, rotation):
    """A new array of the head that `projected` begins with."""
    cos, sin, half = rotation[0], rotation[1], rotation.shape[1]
    head, result = projected[: 2 * half], np.empty(2 * half, np.float32)
    if len(norm):
        head = _normed(head, norm, eps)
    for index in range(half):
        one, other = head[index], head[index + half]
        result[index] = one * cos[index] - other * sin[index]
        result[index + half] = other * cos[index] + one * sin[index]
    return result


@compiled
@no_type_check
def _normed(x, weight, eps):
    """RMSNorm, as a new array."""
    scale = np.float32(_ONE / math.sqrt(dot(x, x) / np.float32(len(x)) + eps))
    result = np.empty_like(x)
    for index in range(len(x)):
        result[index] = x[index] * weight[index] * scale
    return result
