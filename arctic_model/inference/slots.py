"""A cache with a slot for each of several sequences, in the layers' own layout."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.layers.attention import LayerCache


@dataclass
class RaggedCache(LayerCache):
    """The first B slots of one layer, [slots, G, capacity, C], of unequal lengths. Each row of a pass is one id, which
    is written behind those of its own slot. `rows` [B] counts the slots; `length` is the largest of `lengths` [B]."""

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
class SlotView:
    """CacheView over the caches of all layers."""

    layers: list[LayerCache]
    length: int


class Slots:
    """SlotCache in memory that all slots share.

    Args:
        layers: an empty cache per layer, with one row per slot.
    """

    def __init__(self, layers: list[LayerCache]) -> None:
        self._layers = layers

    def row(self, slot: int, length: int) -> SlotView:
        """See `SlotCache`."""
        part = slice(slot, slot + 1)
        return SlotView([LayerCache(layer.keys[part], layer.values[part], length) for layer in self._layers], length)

    def rows(self, lengths: list[int]) -> SlotView:
        """See `SlotCache`."""
        device, longest = self._layers[0].keys.device, max(lengths)
        indices = {
            "rows": torch.arange(len(lengths), device=device),
            "lengths": torch.tensor(lengths, device=device),
        }
        return SlotView([RaggedCache(layer.keys, layer.values, longest, **indices) for layer in self._layers], longest)

    def swap(self, first: int, second: int, length: int) -> None:
        """See `SlotCache`."""
        for tensor in self._tensors():
            held = tensor[first, :, :length].clone()
            tensor[first, :, :length] = tensor[second, :, :length]
            tensor[second, :, :length] = held

    def copy(self, source: int, target: int, length: int) -> None:
        """See `SlotCache`."""
        for tensor in self._tensors():
            tensor[target, :, :length] = tensor[source, :, :length]

    def _tensors(self) -> list[Tensor]:
        return [tensor for layer in self._layers for tensor in (layer.keys, layer.values)]


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Room for keys or values, without a value that is no number: a mask would not hide that."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy takes zeroed pages from the system when they are first touched; torch would write them all at once.
    flat = torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8))
    return flat.view(dtype).view(shape)
