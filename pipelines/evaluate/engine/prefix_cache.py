"""Keys and values of the beginnings that prompts share, such as the worked examples before every question of a task."""

import numpy as np
import torch

from pipelines.evaluate.engine.models import KeyValueCache, LanguageModel, added_mask

BLOCK = 128
"""Ids that are read at once. A beginning is always read in whole blocks from its first id on, so its numbers are the
same whoever reads it, and whether it was kept from the request before or is read again changes no bit. On a CPU a
row of a pass of 128 costs 1.3 times that of one of 512, and one of a pass of 16 six times (benchmarks/loglikelihood.py,
quickstart's size): smaller blocks would share more and cost more."""
MAX_ROWS = 2048
"""Ids of one pass behind a prefix: a mask of 16 MiB. A question with more is read in several trees."""


class PrefixCache:
    """One sequence of ids, in whole blocks, with its keys and values; what a request shares with it is kept."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids = np.empty(0, dtype=np.int64)
        self._cache: KeyValueCache | None = None
        self.num_read = 0

    def blocks(self, num_shared: int) -> int:
        """How many of `num_shared` ids are read as a beginning of their own."""
        return num_shared // BLOCK * BLOCK if self._model.sees_masks else 0

    def read(self, prefix: np.ndarray, num_more: int) -> KeyValueCache:
        """The cache behind `prefix`, whole blocks, with room for `num_more` ids. It is lent until the next call."""
        cache = self._room(len(prefix) + num_more)
        length = min(len(self._ids), len(prefix)) // BLOCK * BLOCK
        while length and not np.array_equal(self._ids[:length], prefix[:length]):
            length -= BLOCK
        cache.truncate(length)
        for start in range(length, len(prefix), BLOCK):
            self._append(cache, prefix[start : start + BLOCK], start)
        self._ids = prefix
        return cache

    def _room(self, needed: int) -> KeyValueCache:
        if self._cache is None or not self._model.sees_masks:
            # The same room for every request: its size is part of how the keys lie in memory.
            capacity = max(needed, self._model.max_positions + MAX_ROWS) if self._model.sees_masks else needed
            self._cache = self._model.new_cache(1, capacity)
            self._ids = np.empty(0, dtype=np.int64)
        return self._cache

    def _append(self, cache: KeyValueCache, block: np.ndarray, start: int) -> None:
        device = self._model.device
        ids = torch.from_numpy(block).to(device)[None]
        positions = torch.arange(start, start + BLOCK, device=device)[None]
        visible = torch.ones(BLOCK, start + BLOCK, dtype=torch.bool, device=device).tril(start)
        none = torch.empty(0, dtype=torch.long, device=device)
        self._model.logits(ids, positions, added_mask(visible)[None, None], none, cache)
        self.num_read += BLOCK
