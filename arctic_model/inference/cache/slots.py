"""A cache with a slot for each of several sequences, in the layers' own layout."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.inference.language_model import Part, packed_mask
from arctic_model.layers.attention.grouped_query import LayerCache, Mask
from arctic_model.layers.attention.merged import KeyPart, SinkLogits, attend_to_keys


@dataclass
class RaggedCache(LayerCache):
    """The first B slots of one layer, [slots, G, capacity, C], of unequal lengths. Each row of a pass is one id, which
    is written behind those of its slot. `rows` [B] counts the slots; `length` is the largest of `lengths` [B]."""

    rows: Tensor = field(kw_only=True)
    lengths: Tensor = field(kw_only=True)

    def append(
        self, keys: Float[Tensor, "B G 1 C"], values: Float[Tensor, "B G 1 C"]
    ) -> tuple[Float[Tensor, "B G S C"], Float[Tensor, "B G S C"]]:
        """Add one key and value to each slot. Returns those of all B slots, up to the end of the longest."""
        self.keys[self.rows, :, self.lengths] = keys[:, :, 0]
        self.values[self.rows, :, self.lengths] = values[:, :, 0]
        end, count = self.length + 1, len(self.rows)
        return self.keys[:count, :, :end], self.values[:count, :, :end]


@dataclass
class PackedCache(LayerCache):
    """The slots of one layer, [slots, G, capacity, C], for a pass over `parts` of several sequences in one row.
    `biases`: for each part the causal mask [1, 1, T, S] over its slot; None if the part begins its sequence."""

    parts: Sequence[Part] = field(kw_only=True)
    biases: Sequence[Tensor | None] = field(kw_only=True)

    def append(
        self, keys: Float[Tensor, "1 G T C"], values: Float[Tensor, "1 G T C"]
    ) -> tuple[Float[Tensor, "1 G S C"], Float[Tensor, "1 G S C"]]:
        """Add each part's keys and values to its slot. Returns those of all parts' slots, one after the other."""
        counts = [part.num_ids for part in self.parts]
        return self._add(self.keys, keys[0].split(counts, 1)), self._add(self.values, values[0].split(counts, 1))

    def attend(
        self,
        queries: Float[Tensor, "1 T H C"],
        keys: Float[Tensor, "1 T G C"],
        values: Float[Tensor, "1 T G C"],
        mask: Mask,
        sink_logits: SinkLogits | None = None,
    ) -> Float[Tensor, "1 T H C"]:
        """As `LayerCache.attend`. On a CPU each part meets the keys of its own slot alone: all other scores of the pass
        are masked, and most of the work."""
        if not queries.is_cpu:
            return super().attend(queries, keys, values, mask, sink_logits)
        counts = [part.num_ids for part in self.parts]
        self._write(self.keys, keys[0].transpose(0, 1).split(counts, 1))
        self._write(self.values, values[0].transpose(0, 1).split(counts, 1))
        mixed = []
        by_part = queries.transpose(1, 2).split(counts, 2)
        for part, bias, rows in zip(self.parts, self.biases, by_part, strict=True):
            slot = slice(part.slot, part.slot + 1)
            held = self.keys[slot, :, : part.end], self.values[slot, :, : part.end]
            mixed.append(attend_to_keys(rows, KeyPart(*held, is_causal=bias is None, bias=bias), sink_logits))
        return torch.cat(mixed, 2).transpose(1, 2)

    def _add(self, slots: Tensor, new: Sequence[Tensor]) -> Tensor:
        self._write(slots, new)
        return torch.cat([slots[part.slot, :, : part.end] for part in self.parts], dim=1)[None]

    def _write(self, slots: Tensor, new: Sequence[Tensor]) -> None:
        for part, tensor in zip(self.parts, new, strict=True):
            slots[part.slot, :, part.start : part.end] = tensor


@dataclass
class SlotView:
    """CacheView over the caches of all layers, of a cache with `num_slots`."""

    layers: list[LayerCache]
    length: int
    num_slots: int


class Slots:
    """SlotCache in memory that all slots share.

    Args:
        layers: an empty cache per layer, with one row per slot.
    """

    def __init__(self, layers: list[LayerCache]) -> None:
        self._layers = layers
        slots = range(len(layers[0].keys))
        # Keys and values of each layer: these tensors are made once, and not for every token.
        self._by_slot = [[(layer.keys[slot, None], layer.values[slot, None]) for layer in layers] for slot in slots]

    def row(self, slot: int, length: int) -> SlotView:
        """See `SlotCache`."""
        return self._view([LayerCache(*pair, length) for pair in self._by_slot[slot]])

    def rows(self, lengths: list[int]) -> SlotView:
        """See `SlotCache`."""
        if len(lengths) == 1:
            return self.row(0, lengths[0])
        device, longest = self._layers[0].keys.device, max(lengths)
        indices = {
            "rows": torch.arange(len(lengths), device=device),
            "lengths": torch.tensor(lengths, device=device),
        }
        return self._view([RaggedCache(layer.keys, layer.values, longest, **indices) for layer in self._layers])

    def parts(self, parts: Sequence[Part]) -> SlotView:
        """See `SlotCache`."""
        length, keys = sum(part.start for part in parts), self._layers[0].keys
        biases = [packed_mask([part], keys.device).to(keys.dtype) if part.start else None for part in parts]
        both: dict[str, Any] = {"parts": parts, "biases": biases}
        return self._view([PackedCache(layer.keys, layer.values, length, **both) for layer in self._layers])

    def swap(self, first: int, second: int, length: int) -> None:
        """See `SlotCache`."""
        for tensor in self.tensors():
            held = tensor[first, :, :length].clone()
            tensor[first, :, :length] = tensor[second, :, :length]
            tensor[second, :, :length] = held

    def copy(self, source: int, target: int, length: int) -> None:
        """See `SlotCache`."""
        for tensor in self.tensors():
            tensor[target, :, :length] = tensor[source, :, :length]

    def clear(self, slot: int) -> None:
        """See `SlotCache`."""
        for tensor in self.tensors():
            tensor[slot].zero_()

    def _view(self, layers: Sequence[LayerCache]) -> SlotView:
        return SlotView([*layers], layers[0].length, len(self._layers[0].keys))

    def tensors(self) -> list[Tensor]:
        """The memory of all layers: keys and values of one after the other."""
        return [tensor for layer in self._layers for tensor in (layer.keys, layer.values)]


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeroed memory for keys or values, without NaN: a mask would not hide that."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy takes zeroed pages from the system when they are first touched; torch would write them all at once.
    flat = torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8))
    return flat.view(dtype).view(shape)
