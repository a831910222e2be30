"""The pass of one token of each of several sequences through all layers and the head, as one compiled call that starts
its threads once.

The products of a token are short: starting threads for each of them takes longer than some of them. So every thread
goes through all steps of the pass. In a step it computes range after range of outputs that no other thread has taken,
then waits for the others. A thread that the system runs late leaves its ranges to the others. Each tile of outputs is
summed by one thread in one order: the bits do not depend on the number of threads.

The ranges get shorter, as in guided self-scheduling (Polychronopoulos and Kuck 1987): memory is read fastest in long
ones, and with short ones at the end all threads end together.

A late thread may read values that a later step overwrites. By then no range is left that it could compute from them, as
long as the number of ranges of a step follows from shapes alone.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange, types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic

from arctic_model.inference.cpu import addresses, expert_kernels, head_kernel, row_kernels
from arctic_model.inference.cpu.addresses import numbers_at, weights_at
from arctic_model.inference.cpu.expert_kernels import by_expert, expert_shares
from arctic_model.inference.cpu.head_kernel import mix_head, normed
from arctic_model.inference.cpu.row_kernels import OPTIONS, PARALLEL, TILE, gate_outputs, multiply_outputs, num_tiles
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
[slots, G, capacity, C] are float32."""
STEPS = 6
"""Steps of a layer: queries, keys and values; attention of each head; output; router; gated inner values; down."""
SHORTEST, PATIENCE = 2**13, 2**10
"""Weights of the shortest ranges, which take a microsecond, ten times as long as taking the range. Reads of a counter,
also a microsecond, until a thread that waits lets others run: the late one may need this core."""
_LINE = 8
"""Distance of counters, a cache line: a thread that waits does not slow down those that take ranges."""
compiled = compiler(row_kernels, expert_kernels, addresses, head_kernel, **OPTIONS)
in_parallel = compiler(row_kernels, expert_kernels, addresses, head_kernel, **OPTIONS, parallel=PARALLEL)
_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
@no_type_check
def _count(typing, counters, index, number):  # noqa: ARG001 - numba's own signature
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
    ranges, number = (halvings + 1) * threads, _count(counters, taken, 1)
    while number < ranges:
        yield range(_begin(number, halvings, count, threads), _begin(number + 1, halvings, count, threads))
        done += 1
        number = _count(counters, taken, 1)
    _count(counters, computed, done)
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


@in_parallel
@no_type_check
def read_tokens(x, layers, head, turns, mask, ends, team):
    """float32 logits [n, V] behind N ids, one of each sequence.

    Args:
        x: their embeddings [N, D], overwritten.
        layers: records of LAYER; the id n is that of the sequence in slot n.
        head: weights [V, D], of the dtype of all matrices, norm [D], and which of the ids have logits [n].
        turns: [N, 2, C / 2], cosine and sine of their positions.
        mask: [N, S], added to the scores of the keys of each.
        ends: [N] keys of each, of which the last is its own and takes the position before that in the cache.
        team: counters from `new_counters`, all 0, and how many threads take part.
    """
    weight, norm, keep = head
    count, first = len(x), layers[0]
    logits, attended = np.empty((len(keep), len(weight)), np.float32), np.empty_like(x)
    projected = np.empty((count, (first.heads + 2 * first.groups) * first.channels), np.float32)
    mixed = np.empty((count, first.heads * first.channels), np.float32)
    rooms = _rooms(layers, count)
    for _ in prange(team[1]):
        for number in range(len(layers)):
            layer, step = layers[number], STEPS * number
            _project(layer, step, team, weight, x, projected)
            _mix(layer, step + 1, team, projected, mixed, turns, mask, ends)
            _add_output(layer, step + 2, team, weight, x, mixed, attended)
            _feed_forward(layer, step + 3, team, weight, x, attended, rooms)
        _multiply(STEPS * len(layers), team, weight, _normed(x[keep], norm, layers[0].eps), logits)
    return logits


@compiled
@no_type_check
def _rooms(layers, count):
    """Memory for the values of a layer of `count` ids between its input and its output: scores of the experts, inner
    values twice, and outputs of the experts. In a parallel function numba would warn that these sums have one
    thread."""
    inner = (layers["dense_width"] + layers["top_k"] * layers["expert_width"]).max()
    scores = np.empty((count, layers["experts"].max()), np.float32)
    lowered = np.empty((count * layers["top_k"].max(), layers[0].width), np.float32)
    return scores, np.empty(count * inner, np.float32), np.empty(count * inner, np.float32), lowered


@compiled
@no_type_check
def _project(layer, step, team, like, x, projected):
    """Queries, keys and values, one after the other."""
    width, size, narrow = layer.width, layer.heads * layer.channels, layer.groups * layer.channels
    query, of_query = weights_at(layer.query, (size, width), like), numbers_at(layer.query_bias, size)
    key, of_key = weights_at(layer.key, (narrow, width), like), numbers_at(layer.key_bias, narrow)
    value, of_value = weights_at(layer.value, (narrow, width), like), numbers_at(layer.value_bias, narrow)
    rows = _normed(x, numbers_at(layer.attention_norm, width), layer.eps)
    queries, keys, values = projected[:, :size], projected[:, size : size + narrow], projected[:, size + narrow :]
    to_keys, to_values = num_tiles(size), num_tiles(size) + num_tiles(narrow)
    for taken in _ranges(team, step, to_values + num_tiles(narrow), TILE * rows.size):
        _multiply_biased(query, of_query, _outputs(taken, 0, size), rows, queries)
        _multiply_biased(key, of_key, _outputs(taken, to_keys, narrow), rows, keys)
        _multiply_biased(value, of_value, _outputs(taken, to_values, narrow), rows, values)


@compiled
@no_type_check
def _outputs(taken, before, count):
    """Which of the `count` outputs of a matrix a range of tiles has, of which `before` belong to other matrices."""
    return min(max(taken.start - before, 0) * TILE, count), min(max(taken.stop - before, 0) * TILE, count)


@compiled
@no_type_check
def _multiply_biased(weight, bias, outputs, rows, products):
    first, end = outputs
    multiply_outputs(weight, first, end, rows, products)
    if len(bias):
        for row in range(len(rows)):
            for output in range(first, end):
                products[row, output] += bias[output]


@compiled
@no_type_check
def _mix(layer, step, team, projected, mixed, turns, mask, ends):
    for taken in _ranges(team, step, len(projected) * layer.heads, SHORTEST):
        for unit in taken:
            row, head = divmod(unit, layer.heads)
            mix_head(layer, row, head, projected[row], mixed[row], turns[row], mask[row, : ends[row]])


@compiled
@no_type_check
def _add_output(layer, step, team, like, x, mixed, attended):
    output = weights_at(layer.output, (layer.width, mixed.shape[1]), like)
    for taken in _ranges(team, step, num_tiles(layer.width), TILE * mixed.size):
        first, end = _outputs(taken, 0, layer.width)
        multiply_outputs(output, first, end, mixed, attended)
        _add(x, first, end, attended)


@compiled
@no_type_check
def _add(addend, first, end, sums):
    for row in range(len(sums)):
        for index in range(first, end):
            sums[row, index] += addend[row, index]


@compiled
@no_type_check
def _feed_forward(layer, step, team, like, x, attended, rooms):
    """Dense MLP and experts, which write the layer's output to `x`."""
    width, experts, count, (scores, inner, up, lowered) = layer.width, layer.experts, len(x), rooms
    for_dense = for_experts = attended
    if layer.dense_width:
        for_dense = _normed(attended, numbers_at(layer.dense_norm, width), layer.eps)
    shares, numbers = np.empty((count, experts), np.float32), np.empty(0, np.int64)
    first, used = np.zeros(1, np.int64), np.empty(0, np.int64)
    if experts:
        read = x if layer.experts_read_input else attended
        for_experts = _normed(read, numbers_at(layer.experts_norm, width), layer.eps)
        _multiply(step, team, weights_at(layer.router, (experts, width), like), for_experts, scores)
        shares = expert_shares(scores, numbers_at(layer.router_bias, experts), layer.top_k)
        numbers, first, used = by_expert(shares, layer.top_k)
    choice = shares, numbers, first, used
    _gate(layer, step + 1, team, like, for_dense, for_experts[numbers], choice, inner, up)
    _add_down(layer, step + 2, team, like, attended, choice, inner, lowered, x)


@compiled
@no_type_check
def _parts(layer, count, flat):
    """Inner values of the dense MLP [N, F], and those of the experts [N * K, F], in the same memory."""
    dense, choices = count * layer.dense_width, count * layer.top_k
    experts = flat[dense : dense + choices * layer.expert_width]
    return flat[:dense].reshape(count, layer.dense_width), experts.reshape(choices, layer.expert_width)


@compiled
@no_type_check
def _gate(layer, step, team, like, for_dense, for_experts, choice, inner, up):
    """Inner values of the dense MLP, then those of each chosen expert."""
    width, (_, _, first, used) = layer.width, choice
    dense_gate = weights_at(layer.dense_gate, (layer.dense_width, width), like)
    dense_up = weights_at(layer.dense_up, (layer.dense_width, width), like)
    gates = weights_at(layer.gate, (layer.experts, layer.expert_width, width), like)
    ups = weights_at(layer.up, (layer.experts, layer.expert_width, width), like)
    dense_part, expert_part = _parts(layer, len(for_dense), inner)
    dense_room, expert_room = _parts(layer, len(for_dense), up)
    of_dense, of_expert = num_tiles(layer.dense_width), num_tiles(layer.expert_width)
    # Experts that ids share leave tiles without outputs: a late thread may read another number of experts.
    most = min(layer.experts, len(for_dense) * layer.top_k)
    for taken in _ranges(team, step, of_dense + most * of_expert, 2 * TILE * for_dense.size):
        begin, end = _outputs(taken, 0, layer.dense_width)
        if begin < end:
            gate_outputs(dense_gate, dense_up, begin, end, for_dense, dense_part, dense_room)
        for rank in range(len(used)):
            begin, end = _outputs(taken, of_dense + rank * of_expert, layer.expert_width)
            if begin < end:
                expert = used[rank]
                rows = slice(first[expert], first[expert + 1])
                parts = for_experts[rows], expert_part[rows], expert_room[rows]
                gate_outputs(gates[expert], ups[expert], begin, end, *parts)


@compiled
@no_type_check
def _add_down(layer, step, team, like, attended, choice, inner, lowered, out):
    width, (shares, numbers, first, used) = layer.width, choice
    dense_down = weights_at(layer.dense_down, (width, layer.dense_width), like)
    downs = weights_at(layer.down, (layer.experts, width, layer.expert_width), like)
    dense_part, expert_part = _parts(layer, len(attended), inner)
    for taken in _ranges(team, step, num_tiles(width), TILE * inner.size):
        begin, end = _outputs(taken, 0, width)
        multiply_outputs(dense_down, begin, end, dense_part, out)
        _add(attended, begin, end, out)
        for expert in used:
            rows = slice(first[expert], first[expert + 1])
            multiply_outputs(downs[expert], begin, end, expert_part[rows], lowered[rows])
            for index in range(first[expert], first[expert + 1]):
                share = shares[numbers[index], expert]
                for output in range(begin, end):
                    out[numbers[index], output] += share * lowered[index, output]


@compiled
@no_type_check
def _multiply(step, team, weight, rows, products):
    for taken in _ranges(team, step, num_tiles(len(weight)), TILE * rows.size):
        first, end = _outputs(taken, 0, len(weight))
        multiply_outputs(weight, first, end, rows, products)


@compiled
@no_type_check
def _normed(rows, weight, eps):
    """RMSNorm of each row, as a new array."""
    result = np.empty_like(rows)
    for number in range(len(rows)):
        result[number] = normed(rows[number], weight, eps)
    return result
