"""Keys and values of the beginnings that prompts share: worked examples before a question, the turns of a chat."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arctic_model.inference.cache.prefix_tree import common_length
from arctic_model.inference.language_model import CacheView, LanguageModel, Part, no_mask, packed_mask

BLOCK = 128
"""Ids that are read at once. A prefix is always read in whole blocks from its first id on, so its numbers do not depend
on the reader, and caching it or reading it again changes no bit. On a CPU a row of a pass of 128 costs 1.3 times that
of one of 512, and one of a pass of 16 six times (benchmarks/loglikelihood.py, quickstart's size): smaller blocks would
share more and cost more."""
GPU_CHUNK = 16 * BLOCK
"""Ids that a GPU reads at once: its time for few rows is that of starting the pass."""
_NOTHING = np.empty(0, dtype=np.int64)


class Piece(NamedTuple):
    """Ids of a prompt that are read in one pass: `part` of `prompt`.

    `is_shared`: whether they belong to the beginning that others may share. `first_logits`: how many of the ids have
    none behind them.
    """

    prompt: np.ndarray
    part: Part
    is_shared: bool
    first_logits: int


class PrefixCache:
    """A cache with slots, and an index of the prefixes that it holds.

    Args:
        model: reads the ids.
        capacity: ids of a slot.
        num_slots: sequences that are held at a time.
    """

    def __init__(self, model: LanguageModel, capacity: int, num_slots: int = 1) -> None:
        self._model = model
        self._cache = model.new_cache(num_slots, capacity)
        self._prefixes = [_NOTHING] * num_slots
        self._last_use = [0] * num_slots
        self._clock = 0
        self._chunk = BLOCK if model.device.type == "cpu" else GPU_CHUNK
        self.num_read = 0

    def blocks(self, num_shared: int) -> int:
        """Number of `num_shared` ids that are read as a separate prefix."""
        return num_shared // BLOCK * BLOCK if self._model.sees_masks else 0

    def occupy(self, slot: int, prefix: np.ndarray) -> int:
        """Prepare `slot`, the first free one, for a sequence that begins with `prefix`, whole blocks.

        The beginning that any slot has in common with it is moved or copied there.

        Returns:
            How many ids of `prefix` the slot holds now.
        """
        shared = [self.blocks(common_length(prefix, held)) for held in self._prefixes]
        best = max(range(len(shared)), key=lambda number: (shared[number], -self._last_use[number]))
        free = range(slot, len(shared))
        victim = best if best in free else min(free, key=self._last_use.__getitem__)
        self.swap(slot, victim, max(len(self._prefixes[slot]), len(self._prefixes[victim])))
        if best < slot and shared[best]:
            self._cache.copy(best, slot, shared[best])
        self._clock += 1
        self._last_use[slot] = self._clock
        self._prefixes[slot] = prefix[: shared[best]]
        return shared[best]

    def read(self, pieces: Sequence["Piece"]) -> list[Float[Tensor, "n V"]]:
        """Read pieces of different sequences in one pass, those of endless ones in a pass each.

        Returns:
            For each piece, the logits that it asks for.
        """
        if self._model.streams and len(pieces) > 1:
            return [logits for piece in pieces for logits in self.read([piece])]
        device = self._model.device
        parts = [piece.part for piece in pieces]
        ids = torch.from_numpy(np.concatenate([piece.prompt[part.start : part.end] for piece, part in _zip(pieces)]))
        positions = torch.cat([torch.arange(part.start, part.end) for part in parts])
        kept = [np.arange(part.num_ids)[piece.first_logits :] for piece, part in _zip(pieces)]
        offsets = np.cumsum([0, *(part.num_ids for part in parts)])
        keep = torch.from_numpy(
            np.concatenate([rows + offset for rows, offset in zip(kept, offsets[:-1], strict=True)])
        )
        # A sequence alone is read in place; several are copied together.
        view = self.row(parts[0].slot, parts[0].start) if len(parts) == 1 else self._cache.parts(parts)
        is_unmasked = self._model.streams or (len(parts) > 1 and self._model.keeps_parts_apart)
        mask = no_mask(device, num_ids=len(ids)) if is_unmasked else packed_mask(parts, device)
        tensors = (ids.to(device)[None], positions.to(device)[None], mask, keep.to(device))
        logits = self._model.logits(*tensors, view)
        for piece, part in _zip(pieces):
            if piece.is_shared:
                self.num_read += part.num_ids
                self._prefixes[part.slot] = piece.prompt[: part.end]
        return list(logits.split([len(rows) for rows in kept]))

    def hold(self, prefix: np.ndarray) -> CacheView:
        """All of `prefix`, whole blocks, in the first slot."""
        start = self.occupy(0, prefix)
        while start < len(prefix):
            piece = self.piece(0, prefix, start, len(prefix))
            self.read([piece])
            start = piece.part.end
        return self.row(0, len(prefix))

    def piece(
        self, slot: int, prompt: np.ndarray, start: int, num_shared: int, *, with_logits: bool = False
    ) -> "Piece":
        """The next part to read of a prompt whose first `num_shared` ids, whole blocks, are its prefix: one block of
        that, or several on a GPU, and so of an endless prompt; else the rest, with the logits after its last id.

        Args:
            slot: that holds the prompt.
            start: how many of its ids are read already.
            with_logits: whether logits behind all ids are asked for.
        """
        is_shared = start < num_shared
        end = num_shared if is_shared else len(prompt)
        if is_shared or self._model.streams:
            end = min(start + self._chunk, end)
        asked = 0 if with_logits else end - start - (end == len(prompt))
        return Piece(prompt, Part(slot, start, end), is_shared, asked)

    def held(self, slot: int) -> int:
        """How many ids of a beginning the slot holds."""
        return len(self._prefixes[slot])

    def row(self, slot: int, length: int) -> CacheView:
        """See `SlotCache`."""
        return self._cache.row(slot, length)

    def rows(self, lengths: list[int]) -> CacheView:
        """See `SlotCache`."""
        return self._cache.rows(lengths)

    def clear(self, slot: int) -> None:
        """See `SlotCache`."""
        self._cache.clear(slot)
        self._prefixes[slot] = _NOTHING

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange two slots, of which `length` ids count."""
        if first != second:
            self._cache.swap(first, second, length)
            prefixes, uses = self._prefixes, self._last_use
            prefixes[first], prefixes[second] = prefixes[second], prefixes[first]
            uses[first], uses[second] = uses[second], uses[first]


def _zip(pieces: Sequence[Piece]) -> Iterable[tuple[Piece, Part]]:
    return ((piece, piece.part) for piece in pieces)
