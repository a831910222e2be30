"""Evaluation items inside training text: seeds find candidates, and an alignment measures the shared part.

A text holds an item if most of the item's words occur in it in the item's order. Runs of SEED_WORDS words are looked
up; around each hit, the longest common subsequence of words is counted (Wagner and Fischer 1974). Changing k of an
item's W words leaves a run of (W - k) / (k + 1) words, so with one word in ten changed a seed always survives from W =
10 on; whole n-grams of the usual 8 to 13 words would not. A single shared seed decides nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.score.text.bits import MULTIPLIER
from pipelines.score.text.characters import Characters

SEED_WORDS = 5
MIN_ITEM_WORDS = 8
"""Shorter items ("What is the capital of France?") occur in innocent text: they are left out, and counted."""
MAX_ITEM_WORDS = 512
"""Longer items are looked for by their start."""
MAX_SEED_ITEMS = 64
"""A run of words that more items share is no evidence for any of them."""
MIN_SHARE = 0.6
"""Share of an item's words below which nothing is recorded."""
EXCERPT_CHARACTERS = 300
_FILTER_BITS = 20


class Hit(NamedTuple):
    """`share` of the words of `item` (one field of it) occur between the characters `start` and `end` of a text."""

    benchmark: str
    item: int
    field: str
    share: float
    start: int
    end: int


@dataclass(frozen=True)
class BenchmarkIndex:
    """Items by number: `names` (benchmark, item, field), `words` of all with `offsets`; seeds in order, each with its
    positions: `seed_items` and `seed_places` (in the item) from `seed_offsets` on. `maybe`: which leading bits seeds
    have.
    """

    names: Sequence[tuple[str, int, str]]
    words: np.ndarray
    offsets: np.ndarray
    seeds: np.ndarray
    seed_offsets: np.ndarray
    seed_items: np.ndarray
    seed_places: np.ndarray
    maybe: np.ndarray
    num_too_short: int

    def find(self, characters: Characters) -> list[Hit]:
        """The items of which at least MIN_SHARE occurs in a text, each once at its best position, in the index's
        order."""
        if not self.names:
            return []
        words = characters.words
        starts, items, item_places = self._seeds_in(words.hashes)
        if not len(starts):
            return []
        from pipelines.score.text.kernels.alignment import align

        order = np.lexsort((starts - item_places, items))
        hits = align(words.hashes, self.words, self.offsets, items[order], (starts - item_places)[order], MIN_SHARE)
        return [
            Hit(*self.names[int(item)], float(share), int(words.starts[int(first)]), int(words.ends[int(last)]))
            for item, share, first, last in hits
        ]

    def _seeds_in(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(position in the text, item, position in the item) of every seed in the text."""
        runs = _runs(hashes)
        starts = np.flatnonzero(self.maybe[(runs >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)])
        slots = np.minimum(np.searchsorted(self.seeds, runs[starts]), max(len(self.seeds) - 1, 0))
        starts, slots = _where(self.seeds[slots] == runs[starts], starts, slots) if len(self.seeds) else (slots, slots)
        counts = self.seed_offsets[slots + 1] - self.seed_offsets[slots]
        postings = np.repeat(self.seed_offsets[slots] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return np.repeat(starts, counts), self.seed_items[postings], self.seed_places[postings]


def build_index(texts: Iterable[tuple[str, int, str, str]]) -> BenchmarkIndex:
    """The index of (benchmark, item, field, text)."""
    names: list[tuple[str, int, str]] = []
    parts: list[np.ndarray] = []
    num_too_short = 0
    for benchmark, item, field, text in texts:
        hashes = Characters(text).words.hashes[:MAX_ITEM_WORDS]
        if len(hashes) < MIN_ITEM_WORDS:
            num_too_short += 1
            continue
        names.append((benchmark, item, field))
        parts.append(hashes)
    runs = [_runs(part) for part in parts]
    seeds, items, positions = _columns(runs)
    order = np.lexsort((positions, items, seeds))
    unique, counts = np.unique(seeds, return_counts=True)
    distinctive = np.repeat(counts <= MAX_SEED_ITEMS, counts)
    rare = counts <= MAX_SEED_ITEMS
    maybe = np.zeros(1 << _FILTER_BITS, bool)
    maybe[(unique[rare] >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)] = True
    return BenchmarkIndex(
        names=names,
        words=np.concatenate(parts) if parts else np.empty(0, np.uint64),
        offsets=np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64),
        seeds=unique[rare],
        seed_offsets=np.concatenate(([0], np.cumsum(counts[rare]))),
        seed_items=items[order][distinctive],
        seed_places=positions[order][distinctive],
        maybe=maybe,
        num_too_short=num_too_short,
    )


def _columns(runs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(seed, item, position in the item) of all runs of all items."""
    if not runs:
        return np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64)
    sizes = [len(run) for run in runs]
    return np.concatenate(runs), np.repeat(np.arange(len(runs)), sizes), np.concatenate([np.arange(n) for n in sizes])


def _where(mask: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(column[mask] for column in columns)


def _runs(hashes: np.ndarray) -> np.ndarray:
    """uint64: a hash of each run of SEED_WORDS words."""
    mixed = np.zeros(max(0, len(hashes) - SEED_WORDS + 1), np.uint64)
    for start in range(SEED_WORDS):
        mixed = (mixed ^ hashes[start : start + len(mixed)]) * MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed
