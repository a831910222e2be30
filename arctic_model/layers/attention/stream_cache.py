"""Keys and values of an endless sequence in constant memory: the first tokens and a window of the newest.

Attention spends much of its weight on the first tokens, the sinks, regardless of their content. With them and a window,
a model reads on without end (Xiao et al. 2023, StreamingLLM, arXiv 2309.17453). Positions count within the cache, so no
distance exceeds those of training.

One masked pass over many tokens gives the same as one pass a token: a key in the window is at its true distance, and
the sinks are at the distance from `min(position, size - 1)`.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arctic_model.layers.attention.grouped_query import LayerCache, Mask
from arctic_model.layers.attention.merged import KeyPart, SinkLogits, attend_to_keys
from arctic_model.layers.rotary import Rotation, rotate, rotation
from arctic_model.rope import Rope


@dataclass
class StreamCache(LayerCache):
    """One layer of one sequence: `keys` and `values` [1, G, sinks + window, C], the window a ring, keys without their
    rotation. `length` counts the tokens read so far, including evicted ones. `table` is the rotation of the positions
    in the cache, [1, sinks + window, 1, C / 2]."""

    rotates: ClassVar[bool] = True
    sinks: int = field(kw_only=True)
    rope: Rope = field(kw_only=True)
    table: Rotation = field(kw_only=True)

    @property
    def size(self) -> int:
        """Tokens that the cache holds."""
        return self.keys.shape[2]

    @property
    def window(self) -> int:
        """Tokens in addition to the sinks."""
        return self.size - self.sinks

    def attend(
        self,
        queries: Float[Tensor, "1 T H C"],
        keys: Float[Tensor, "1 T G C"],
        values: Float[Tensor, "1 T G C"],
        mask: Mask | None = None,  # noqa: ARG002 - the window is the mask
        sink_logits: SinkLogits | None = None,
    ) -> Float[Tensor, "1 T H C"]:
        """Add the new tokens, whose heads are not rotated, and mix the values that each sees."""
        keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        if keys.shape[2] == 1:
            self._store(keys, values)
            return self._attend_newest(queries, sink_logits)
        mixed = self._attend_block(queries, keys, values, sink_logits)
        self._store(keys, values)
        return mixed

    def _attend_newest(
        self, query: Float[Tensor, "1 1 H C"], sink_logits: SinkLogits | None
    ) -> Float[Tensor, "1 1 H C"]:
        """All keys at their positions in the cache, as in the paper."""
        count = min(self.length, self.size)
        places = _places(torch.tensor([self.length], device=self.keys.device), count, self.sinks, self.window)
        keys = rotate(self.keys[:, :, :count].transpose(1, 2), _rows(self.table, places))
        query = rotate(query, Rotation(*(part[:, count - 1 : count] for part in self.table)))
        part = KeyPart(keys.transpose(1, 2), self.values[:, :, :count])
        return attend_to_keys(query.transpose(1, 2), part, sink_logits).transpose(1, 2)

    def _attend_block(
        self,
        queries: Float[Tensor, "1 T H C"],
        keys: Float[Tensor, "1 G T C"],
        values: Float[Tensor, "1 G T C"],
        sink_logits: SinkLogits | None,
    ) -> Float[Tensor, "1 T H C"]:
        """One masked pass over the keys in the cache and the new ones. A query is rotated for the window and for the
        sinks, side by side in a head of width 2 C; a key has zeros in one half."""
        held, new = self._held(), torch.arange(queries.shape[1], device=queries.device) + self.length
        order = torch.cat([held, new])
        slots = self._slots(held)
        keys = torch.cat([self.keys[:, :, slots], keys], dim=2).transpose(1, 2)
        values = torch.cat([self.values[:, :, slots], values], dim=2)
        # Distances alone matter, and numbers near that of the first key stay exact however long the stream is.
        origin = max(0, self.length - self.window)
        is_sink = order < self.sinks
        in_window = self._rotated(keys, order - origin) * ~is_sink[:, None, None]
        at_begin = self._rotated(keys, order.clamp(max=self.sinks)) * is_sink[:, None, None]
        nearby, distant = self._rotated(queries, new - origin), self._rotated(queries, new.clamp(max=self.size - 1))
        keys = torch.cat([in_window, at_begin], dim=-1).transpose(1, 2)
        part = KeyPart(keys, values, bias=self._visible(new, order))
        wide = torch.cat([nearby, distant], dim=-1).transpose(1, 2)
        return attend_to_keys(wide, part, sink_logits, scale=queries.shape[-1] ** -0.5).transpose(1, 2)

    def _visible(self, queries: Int[Tensor, " T"], keys: Int[Tensor, " S"]) -> Bool[Tensor, "T S"]:
        """Sinks, and the window that ends with the query."""
        distance = queries[:, None] - keys
        return (distance >= 0) & ((keys < self.sinks) | (distance < self.window))

    def _rotated(self, heads: Float[Tensor, "1 T N C"], positions: Int[Tensor, " T"]) -> Float[Tensor, "1 T N C"]:
        return rotate(heads, rotation(positions[None], self.rope, self.table.cos.dtype))

    def _store(self, keys: Float[Tensor, "1 G T C"], values: Float[Tensor, "1 G T C"]) -> None:
        """Write new tokens over those that leave the window."""
        first, end = self.length, self.length + keys.shape[2]
        new = torch.arange(keys.shape[2], device=keys.device) + first
        stays = (new < self.sinks) | (new >= end - self.window)
        slots = self._slots(new[stays])
        self.keys[:, :, slots] = keys[:, :, stays]
        self.values[:, :, slots] = values[:, :, stays]
        self.length = end

    def _held(self) -> Int[Tensor, " S"]:
        """Numbers of the tokens in the cache, ascending."""
        oldest = max(self.sinks, self.length - self.window)
        first = torch.arange(min(self.sinks, self.length), device=self.keys.device)
        return torch.cat([first, torch.arange(oldest, max(oldest, self.length), device=self.keys.device)])

    def _slots(self, tokens: Int[Tensor, " S"]) -> Int[Tensor, " S"]:
        """Slots of tokens in memory."""
        return _slots_of(tokens, self.sinks, self.window)


@dataclass
class StreamRows(LayerCache):
    """One layer of B sequences that read one token each: the first B of `keys` and `values` [slots, G, sinks + window,
    C], laid out as in a StreamCache. `lengths` [B] count the tokens that each read so far, `length` is the largest."""

    rotates: ClassVar[bool] = True
    sinks: int = field(kw_only=True)
    table: Rotation = field(kw_only=True)
    lengths: Tensor = field(kw_only=True)

    def attend(
        self,
        queries: Float[Tensor, "B 1 H C"],
        keys: Float[Tensor, "B 1 G C"],
        values: Float[Tensor, "B 1 G C"],
        mask: Mask | None = None,  # noqa: ARG002 - the windows are the mask
        sink_logits: SinkLogits | None = None,
    ) -> Float[Tensor, "B 1 H C"]:
        """Add the new tokens, whose heads are not rotated, and mix the values that each sees, as a StreamCache does for
        one token."""
        size, rows = self.keys.shape[2], torch.arange(len(queries), device=queries.device)
        slots = _slots_of(self.lengths, self.sinks, size - self.sinks)
        self.keys[rows, :, slots], self.values[rows, :, slots] = keys[:, 0], values[:, 0]
        lengths = self.lengths + 1
        held = lengths.clamp(max=size)
        count = int(held.max())
        places = _places(lengths, count, self.sinks, size - self.sinks)
        turned = rotate(self.keys[: len(rows), :, :count].transpose(1, 2), _rows(self.table, places))
        visible = (torch.arange(count, device=queries.device) < held[:, None])[:, None, None]
        part = KeyPart(turned.transpose(1, 2), self.values[: len(rows), :, :count], bias=visible)
        queries = rotate(queries, _rows(self.table, held[:, None] - 1))
        return attend_to_keys(queries.transpose(1, 2), part, sink_logits).transpose(1, 2)


def stream_table(rope: Rope, size: int, dtype: torch.dtype, device: torch.device) -> Rotation:
    """The rotation of all positions in a cache of `size` tokens."""
    return rotation(torch.arange(size, device=device)[None], rope, dtype)


def _slots_of(tokens: Int[Tensor, " S"], sinks: int, window: int) -> Int[Tensor, " S"]:
    """Where the tokens of these numbers lie in memory."""
    return torch.where(tokens < sinks, tokens, sinks + (tokens - sinks) % window)


def _places(lengths: Int[Tensor, " B"], count: int, sinks: int, window: int) -> Int[Tensor, "B S"]:
    """Positions within caches, which read so many tokens, of what lies in their first `count` slots."""
    slots, read = torch.arange(count, device=lengths.device), lengths[:, None]
    in_ring = sinks + (slots - read) % window
    return torch.where((slots < sinks) | (read <= sinks + window), slots, in_ring)


def _rows(table: Rotation, positions: Int[Tensor, "B S"]) -> Rotation:
    return Rotation(*(part[0][positions] for part in table))
