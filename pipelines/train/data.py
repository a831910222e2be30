"""Batches by arithmetic: which sequences a worker reads at a step follows from the phase's plan and the numbers."""

from pathlib import Path

import numpy as np
import torch

from arctic_model.objective import Batch
from pipelines.artifacts.phase_plan import PhasePlan
from pipelines.artifacts.tokens import TokenSequences, positions_and_targets
from pipelines.train.job import TrainJob


class PhaseBatches:
    """The forward passes of worker `rank` of `world`: its slice of each step's positions in the plan's order."""

    def __init__(self, job: TrainJob, rank: int, world: int) -> None:
        self._plan = PhasePlan.read(job.mix)
        self._corpora = {corpus: TokenSequences(Path(folder), "train") for corpus, folder in job.tokens.items()}
        self._first_step = job.first_step
        self._global_batch = job.section.global_batch_sequences
        self._per_worker = self._global_batch // world
        self._micro_batch = job.section.micro_batch_sequences
        self._offset = rank * self._per_worker

    def __call__(self, step: int) -> list[Batch]:
        start = (step - self._first_step - 1) * self._global_batch + self._offset
        rows = [self._row(*where) for where in self._plan.sequences(start, self._per_worker)]
        return [_batch(rows[first : first + self._micro_batch]) for first in range(0, len(rows), self._micro_batch)]

    def _row(self, corpus: str, sequence: int) -> tuple[np.ndarray, ...]:
        ids = self._corpora[corpus].ids(sequence)
        segments = self._corpora[corpus].segments(sequence)
        positions, targets = positions_and_targets(ids, segments)
        return ids[:-1].astype(np.int64), positions, segments[:-1], targets


def _batch(rows: list[tuple[np.ndarray, ...]]) -> Batch:
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))
