"""Passes of one id a sequence on a GPU, as CUDA graphs.

The host takes some microseconds to start a kernel, and such a pass has dozens of short ones in each layer: the GPU
would wait for the host. A graph starts all of a pass at once (CUDA C++ Programming Guide, "CUDA Graphs").

A graph repeats its kernels with the same shapes on the same memory. So ids and lengths are copied to tensors that stay;
a batch is filled up to a power of two, and keys are read up to a power of two, the rest masked:

    lengths [5, 900, 17] -> graph (4 rows, 1,024 keys) -> logits of the first 3 rows
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arctic_model.inference.cache.slots import RaggedCache, Slots, SlotView
from arctic_model.inference.language_model import added_mask
from arctic_model.layers.attention.grouped_query import LayerCache

FEWEST_KEYS = 256
"""Keys that a graph reads at least: few bytes beside those of the weights, and few graphs."""
ALIGNED_POSITIONS = 8
"""The memory of a slot is a multiple of this: the fast kernels of attention take no other mask as it is."""
Pass: TypeAlias = Callable[[], Tensor]
"""Gives logits [B, V] of what the same tensors hold each time."""
Read: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, list[LayerCache]], Tensor]
"""A model's pass over ids, positions, mask, rows to keep and caches, see `LanguageModel.logits`. On the host it depends
on their shapes alone."""


@dataclass
class GraphRows(SlotView):
    """The first slots of `slots`, which hold `lengths` ids."""

    slots: "GraphSlots"
    lengths: list[int]

    def logits(self, ids: Int[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
        """float32 logits behind `ids`, which are written to the slots. The next pass writes over them."""
        return self.slots.logits(ids, self.lengths)


class GraphSlots(Slots):
    """Slots whose `rows` are read by graphs. The first pass of a shape runs without one, which compiles its kernels;
    the second is captured.

    Args:
        layers: an empty cache per layer, with one row per slot, of `graph_positions(capacity)` positions.
        read: the pass of the model.
        capture: makes a pass that repeats the kernels of its argument. None: `graph_capture`.
    """

    def __init__(self, layers: list[LayerCache], read: Read, capture: Callable[[Pass], Pass] | None = None) -> None:
        super().__init__(layers)
        self._num_slots, _, self._num_positions, _ = layers[0].keys.shape
        self._read, self._capture = read, capture or graph_capture()
        self._passes: dict[tuple[int, int], _FixedPass] = {}

    def rows(self, lengths: list[int]) -> GraphRows:
        """See `SlotCache`."""
        return GraphRows(self._layers, max(lengths), self._num_slots, self, lengths)

    def logits(self, ids: Int[Tensor, "B 1"], lengths: list[int]) -> Float[Tensor, "B V"]:
        """See `GraphRows.logits`."""
        num_rows = min(_power_of_two(len(lengths)), self._num_slots)
        num_keys = min(_power_of_two(max(*lengths, FEWEST_KEYS - 1) + 1), self._num_positions)
        shape = num_rows, num_keys
        if shape not in self._passes:
            self._passes[shape] = _FixedPass(self._layers, *shape, self._read, self._capture)
        return self._passes[shape].logits(ids, lengths)


class _FixedPass:
    """A pass over the first `num_rows` slots that reads their first `num_keys` keys."""

    def __init__(
        self, layers: list[LayerCache], num_rows: int, num_keys: int, read: Read, capture: Callable[[Pass], Pass]
    ) -> None:
        keys = layers[0].keys
        self._ids = torch.zeros(num_rows, 1, dtype=torch.long, device=keys.device)
        # No sequence reaches the last position: there the rows that fill up a batch write.
        self._lengths = [keys.shape[2] - 1] * num_rows
        self._ends = torch.tensor(self._lengths, device=keys.device)
        self._order = torch.arange(num_rows, device=keys.device)
        self._numbers = torch.arange(num_keys, device=keys.device)
        where: dict[str, Any] = {"rows": self._order, "lengths": self._ends}
        self._caches: list[LayerCache] = [RaggedCache(each.keys, each.values, num_keys - 1, **where) for each in layers]
        self._read, self._capture = read, capture
        self._pass: Pass = self._compute
        self._num_passes = 0

    def logits(self, ids: Int[Tensor, "B 1"], lengths: list[int]) -> Float[Tensor, "B V"]:
        """See `GraphRows.logits`."""
        self._ids[: len(ids)] = ids
        self._ends.copy_(torch.tensor([*lengths, *self._lengths[len(lengths) :]]))
        if self._num_passes == 1:
            self._pass = self._capture(self._compute)
        self._num_passes += 1
        return self._pass()[: len(ids)]

    def _compute(self) -> Tensor:
        positions = self._ends[:, None]
        mask = added_mask(self._numbers <= positions)[:, None, None]
        return self._read(self._ids, positions, mask, self._order, self._caches)


def graph_positions(capacity: int) -> int:
    """Positions of a slot for sequences of up to `capacity` ids: at least one more."""
    return (capacity // ALIGNED_POSITIONS + 1) * ALIGNED_POSITIONS


def graph_capture() -> Callable[[Pass], Pass]:
    """A function that captures passes as CUDA graphs. They share their memory, so each writes over the results of the
    one before."""
    pool = torch.cuda.graph_pool_handle()

    def captured(run: Pass) -> Pass:
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may allocate meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            logits = run()

        def replay() -> Tensor:
            graph.replay()
            return logits

        return replay

    return captured


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
