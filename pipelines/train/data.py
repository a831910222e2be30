"""Batches by arithmetic: which sequences a worker reads at a step follows from the phase's plan and the numbers."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from arctic_model.layers.attention.context_parallel import local_chunks
from arctic_model.training.losses.objective import Batch
from pipelines.artifacts.documents import HELDOUT, TRAIN
from pipelines.artifacts.sequence_order.phase_plan import PhasePlan
from pipelines.artifacts.sequence_order.token_rows import Rows, read_rows
from pipelines.artifacts.tokenization.tokens import TokenSequences
from pipelines.train.job import TrainJob

MAX_HELDOUT_ROWS = 512
"""Sequences of pairs that are measured after a fine-tune."""
PREFETCHED_STEPS = 2
"""Steps read ahead: one is being handed over while the next is read."""


class PhaseBatches:
    """The forward passes of worker `rank` of `world`: its slice of each step's positions in the plan's order. Workers
    that share sequences have the same slice, and each its part of the tokens."""

    def __init__(self, job: TrainJob, rank: int, world: int) -> None:
        self._job = job
        size = job.group.context_parallel_size
        self._group, self._num_groups = rank // size, world // size
        self._chunks = local_chunks(job.sequence_length, rank % size, size)
        self._orders = {segment.mix: _Order.read(segment.mix, job.tokens) for segment in job.segments}

    def __call__(self, step: int) -> list[Batch]:
        segment = self._job.segment(step)
        order, count = self._orders[segment.mix], segment.global_batch_sequences // self._num_groups
        corpora, sequences = order.plan.sequences(segment.position(step - 1) + self._group * count, count)
        rows = read_rows(order.corpora, corpora, sequences)
        for column in (rows.ids, rows.targets):
            self._require_vocabulary(column, step, order, corpora, sequences)
        rows = self._own_part(rows)
        marks = corpora == np.arange(len(order.corpora))[:, None]
        size = segment.micro_batch_sequences
        return [self._pass(slice(first, first + size), rows, marks) for first in range(0, count, size)]

    def _own_part(self, rows: Rows) -> Rows:
        if len(self._chunks) == 1:
            return rows
        return Rows(*(np.concatenate([column[:, chunk] for chunk in self._chunks], axis=1) for column in rows))

    @staticmethod
    def _pass(part: slice, rows: Rows, marks: np.ndarray) -> Batch:
        ids, positions, segments, targets = (torch.from_numpy(column[part]) for column in rows)
        return Batch(ids, positions, segments, targets, torch.from_numpy(marks[:, part]))

    def _require_vocabulary(
        self, ids: np.ndarray, step: int, order: "_Order", corpora: np.ndarray, sequences: np.ndarray
    ) -> None:
        """An id without a row in the embedding would end the process on a GPU, without naming its source."""
        if ids.max(initial=0) < self._job.config.vocab_size:
            return
        row, column = np.argwhere(ids >= self._job.config.vocab_size)[0].tolist()
        corpus = order.plan.shares[corpora[row]].corpus
        raise ValueError(
            f"step {step}: sequence {sequences[row]} of corpus {corpus} holds token {ids[row, column]}, the model has "
            f"model.vocab_size = {self._job.config.vocab_size}. {order.corpora[corpora[row]].folder} is damaged: "
            "remove the artifact that it is in, and run again."
        )


def heldout_pairs(job: TrainJob, rank: int, world: int) -> list[Batch]:
    """The passes of worker `rank` of `world` over held-out pairs of answers, the same number on every worker: the last
    rows may be copies without targets, which count for nothing."""
    segment = job.segments[0]
    names = [share.corpus for share in PhasePlan.read(segment.mix).shares]
    corpora = [TokenSequences(Path(job.tokens[name]), HELDOUT) for name in names]
    heldout = [(which, row) for which, corpus in enumerate(corpora) for row in range(len(corpus))][:MAX_HELDOUT_ROWS]
    if not heldout:
        return []
    size = segment.micro_batch_sequences
    count = -(-len(heldout) // (size * world)) * size
    numbers = np.arange(rank * count, (rank + 1) * count)
    which, sequences = np.array(heldout).T[:, np.minimum(numbers, len(heldout) - 1)]
    rows = read_rows(corpora, which, sequences)
    rows.targets[numbers >= len(heldout)] = -1
    parts = (slice(first, first + size) for first in range(0, count, size))
    return [Batch(*(torch.from_numpy(column[part]) for column in rows)) for part in parts]


class _Order(NamedTuple):
    """An order of sequences, and the sequences of its corpora."""

    plan: PhasePlan
    corpora: list[TokenSequences]

    @classmethod
    def read(cls, mix: Path, tokens: Mapping[str, Path]) -> "_Order":
        plan = PhasePlan.read(mix)
        return cls(plan, [TokenSequences(Path(tokens[share.corpus]), TRAIN) for share in plan.shares])


class Prefetched:
    """`batches`, prefetched by threads beyond the requested step, up to `last_step`.

    The data of a step does not depend on when or by which worker it is read. An error of a step is raised when that
    step is requested. Use as a context, so that the threads end.
    """

    def __init__(
        self, batches: Callable[[int], list[Batch]], last_step: int, threads: int = 1, ahead: int = PREFETCHED_STEPS
    ) -> None:
        self._batches = batches
        self._last_step = last_step
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._reading: deque[tuple[int, Future[list[Batch]]]] = deque()

    def __enter__(self) -> "Prefetched":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> list[Batch]:
        while self._reading and self._reading[0][0] != step:
            self._reading.popleft()[1].cancel()
        following = self._reading[-1][0] + 1 if self._reading else step
        for upcoming in range(following, min(step + self._ahead, self._last_step) + 1):
            self._reading.append((upcoming, self._pool.submit(self._batches, upcoming)))
        return self._reading.popleft()[1].result()
