"""Keys and values of the beginnings that prompts share: worked examples before a question, the turns of a chat."""

import numpy as np
import torch
from torch import Tensor

from arctic_model.inference.language_model import CacheView, LanguageModel, added_mask
from arctic_model.inference.prefix_tree import common_length

BLOCK = 128
"""Ids that are read at once. A beginning is always read in whole blocks from its first id on, so its numbers are the
same whoever reads it, and whether it was kept from the request before or is read again changes no bit. On a CPU a
row of a pass of 128 costs 1.3 times that of one of 512, and one of a pass of 16 six times (benchmarks/loglikelihood.py,
quickstart's size): smaller blocks would share more and cost more."""
GPU_CHUNK = 16 * BLOCK
"""Ids that a GPU reads at once: its time for few rows is that of starting the pass."""
_NOTHING = np.empty(0, dtype=np.int64)


class PrefixCache:
    """A cache with slots, which knows what beginnings it holds.

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
        """How many of `num_shared` ids are read as a beginning of their own."""
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

    def read(self, slot: int, prefix: np.ndarray, start: int, *, with_logits: bool = False) -> Tensor:
        """Read the next ids of `prefix`, whole blocks, from `start` on: one block, or several on a GPU.

        Returns:
            Logits [T, V] behind each of these ids, or none at all [0, V].
        """
        end = min(start + self._chunk, len(prefix))
        device = self._model.device
        ids = torch.from_numpy(prefix[start:end]).to(device)[None]
        positions = torch.arange(start, end, device=device)[None]
        visible = torch.ones(end - start, end, dtype=torch.bool, device=device).tril(start)
        keep = torch.arange(end - start if with_logits else 0, device=device)
        logits = self._model.logits(ids, positions, added_mask(visible)[None, None], keep, self.row(slot, start))
        self.num_read += end - start
        self._prefixes[slot] = prefix[:end]
        return logits

    def hold(self, prefix: np.ndarray) -> CacheView:
        """All of `prefix`, whole blocks, in the first slot."""
        self.occupy(0, prefix)
        while self.held(0) < len(prefix):
            self.read(0, prefix, self.held(0))
        return self.row(0, len(prefix))

    def held(self, slot: int) -> int:
        """How many ids of a beginning the slot holds."""
        return len(self._prefixes[slot])

    def row(self, slot: int, length: int) -> CacheView:
        """See `SlotCache`."""
        return self._cache.row(slot, length)

    def rows(self, lengths: list[int]) -> CacheView:
        """See `SlotCache`."""
        return self._cache.rows(lengths)

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange two slots, of which `length` ids count."""
        if first != second:
            self._cache.swap(first, second, length)
            prefixes, uses = self._prefixes, self._last_use
            prefixes[first], prefixes[second] = prefixes[second], prefixes[first]
            uses[first], uses[second] = uses[second], uses[first]
