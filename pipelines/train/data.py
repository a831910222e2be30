"""Batches by arithmetic: which sequences a worker reads at a step follows from the phase's plan and the numbers."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from arctic_model.training.objective import Batch
from pipelines.artifacts.documents import TRAIN
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.sequence_order.token_rows import Rows, read_rows
from pipelines.artifacts.tokens import TokenSequences
from pipelines.train.job import TrainJob

PREFETCHED_STEPS = 2
"""Steps read ahead: one is being handed over while the next is read."""


class PhaseBatches:
    """The forward passes of worker `rank` of `world`: its slice of each step's positions in the plan's order."""

    def __init__(self, job: TrainJob, rank: int, world: int) -> None:
        self._plan = PhasePlan.read(job.mix)
        self._corpora = [TokenSequences(Path(job.tokens[share.corpus]), TRAIN) for share in self._plan.shares]
        self._first_step = job.first_step
        self._global_batch = job.section.global_batch_sequences
        self._per_worker = self._global_batch // world
        self._micro_batch = job.section.micro_batch_sequences
        self._offset = rank * self._per_worker
        self._vocab_size = job.config.vocab_size

    def __call__(self, step: int) -> list[Batch]:
        start = (step - self._first_step - 1) * self._global_batch + self._offset
        corpora, sequences = self._plan.sequences(start, self._per_worker)
        rows = read_rows(self._corpora, corpora, sequences)
        for column in (rows.ids, rows.targets):
            self._require_vocabulary(column, step, corpora, sequences)
        marks = corpora == np.arange(len(self._corpora))[:, None]
        passes = [slice(first, first + self._micro_batch) for first in range(0, self._per_worker, self._micro_batch)]
        return [self._pass(part, rows, marks) for part in passes]

    @staticmethod
    def _pass(part: slice, rows: Rows, marks: np.ndarray) -> Batch:
        ids, positions, segments, targets = (torch.from_numpy(column[part]) for column in rows)
        return Batch(ids, positions, segments, targets, torch.from_numpy(marks[:, part]))

    def _require_vocabulary(self, ids: np.ndarray, step: int, corpora: np.ndarray, sequences: np.ndarray) -> None:
        """An id without a row in the embedding would end the process on a GPU, without a word of where it came from."""
        if ids.max(initial=0) < self._vocab_size:
            return
        row, column = np.argwhere(ids >= self._vocab_size)[0].tolist()
        corpus = self._plan.shares[corpora[row]].corpus
        raise ValueError(
            f"step {step}: sequence {sequences[row]} of corpus {corpus} holds token {ids[row, column]}, the model has "
            f"model.vocab_size = {self._vocab_size}. {self._corpora[corpora[row]].folder} is damaged: remove the "
            "artifact that it is in, and run again."
        )


class Prefetched:
    """`batches`, with the steps after the one asked for read ahead by threads, up to `last_step`.

    What a step holds does not depend on when or by whom it is read. An error of a step is raised where that step is
    asked for. Use as a context, so that the threads end.
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
