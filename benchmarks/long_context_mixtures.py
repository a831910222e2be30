"""What long_context.py trains on: packed texts by kind, and batches that take them in turn."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from long_context_texts import training_texts

from arctic_model.training.losses.objective import Batch
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.tokenize.pack_texts import pack_texts

FIRST, SHORT, LONG = 64, 256, 2048
STEP_TOKENS = 4096
SHARES: Mapping[int, Mapping[int, Mapping[str, int]]] = {
    FIRST: {FIRST: {"names": 6, "words": 3, "numbers": 3, "notes": 3, "code": 1}},
    SHORT: {SHORT: {"names": 2, "words": 2, "numbers": 1, "notes": 3, "distant": 5, "code": 3}},
    LONG: {LONG: {"names": 1, "words": 2, "numbers": 1, "distant": 4}, SHORT: {"code": 4, "notes": 3, "distant": 1}},
}
"""By tokens of a row and of the sequences in it: of each kind of text, parts of the sum."""


class Sequences:
    """Packed texts of one kind as batches; `length` is in tokens."""

    def __init__(self, texts: Sequence[str], tokenizer: TextTokenizer, length: int) -> None:
        packed = pack_texts(texts, tokenizer, length)
        self.ids, self.length = packed.rows, length
        self._pieces = np.full(self.ids.shape, -1, np.int32)
        self._positions = np.zeros(self.ids.shape, np.int16)
        location = packed.placement
        for number, (row, start, size) in enumerate(zip(location.row, location.start, location.length, strict=True)):
            self._pieces[row, start : start + size] = number
            self._positions[row, start : start + size] = np.arange(size)

    def batch(self, rows: np.ndarray) -> Batch:
        """No token looks or is predicted across the border of two documents."""
        ids, positions = self.ids[rows].astype(np.int64), self._positions[rows].astype(np.int64)
        pieces = self._pieces[rows]
        is_inside = (pieces[:, 1:] == pieces[:, :-1]) & (pieces[:, 1:] >= 0)
        columns = ids[:, :-1], positions[:, :-1], pieces[:, :-1], np.where(is_inside, ids[:, 1:], -1)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns))

    @property
    def full(self) -> np.ndarray:
        """Rows that one document fills."""
        return np.flatnonzero((self._pieces == self._pieces[:, :1]).all(axis=1))


Mixture = Sequence[Sequences]
"""Corpora in mixed order, each as often as its share."""


def mixture(tokenizer_folder: Path, length: int, num_texts: int) -> Mixture:
    """The corpora of rows of `length` tokens; `num_texts` of each kind, fewer if they are longer than SHORT."""
    tokenizer, result = TextTokenizer(tokenizer_folder), []
    for own, shares in SHARES[length].items():
        for kind, share in shares.items():
            count = num_texts * SHORT // max(own, SHORT)
            result += [Sequences(training_texts(kind, own, count, tokenizer), tokenizer, own)] * share
    return random.Random(length).sample(result, len(result))


class Drawn:
    """Batches of a worker: rows of each corpus of the mixture in turn, drawn by the number of the step alone."""

    def __init__(self, mixture: Mixture, length: int, step_tokens: int, rank: int = 0) -> None:
        self._mixture, self._length, self._count = mixture, length, step_tokens // length
        self._rank, self._world = rank, dist.get_world_size()

    def __call__(self, step: int) -> list[Batch]:
        rng = np.random.default_rng(step)
        numbers = range((step - 1) * self._count, step * self._count)
        rows = [self._row(self._mixture[number % len(self._mixture)], rng) for number in numbers]
        return [Batch(*map(torch.cat, zip(*rows[self._rank :: self._world], strict=True)))]

    def _row(self, corpus: Sequences, rng: np.random.Generator) -> list[torch.Tensor]:
        """Its columns: several sequences if they are shorter."""
        drawn = rng.choice(len(corpus.ids), size=self._length // corpus.length, replace=False)
        return [column.view(1, -1) for column in corpus.batch(drawn)[:4]]
