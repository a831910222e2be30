"""One of two workers of a phase, the second of which stops in step 3: `stopping_worker.py FOLDER RANK`."""

import os
import signal
import sys
from pathlib import Path

from arctic_model.presets import preset
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.spikes import SpikePolicy
from infra.context import StageContext
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.train.data import PhaseBatches
from pipelines.train.job import CheckpointPolicy, Segment, TrainJob, WorkerGroup
from pipelines.train.workers import worker
from tests.pipelines.train.conftest import LENGTH, SEQUENCES, write_corpus


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    home = folder / str(rank)
    write_corpus(home / "code", 0)
    PhasePlan("stopping", LENGTH, 0, (CorpusShare("code", 40, 0, SEQUENCES),), ((0,),)).write(home)
    job = TrainJob(
        config=preset("tiny"),
        group=WorkerGroup(num_workers=2, collective_timeout_s=3.0),
        checkpoints=CheckpointPolicy(every_steps=4),
        segments=(Segment(0, 10, 0, 4, 2, Optimization("muon"), Schedule(0.003), SpikePolicy(), home),),
        sequence_length=LENGTH,
        tokens={"code": home / "code"},
        folder=folder / "state",
    )
    if rank == 1:
        read = PhaseBatches.__call__

        def stops(batches: PhaseBatches, step: int) -> list:
            if step == 3:
                os.kill(os.getpid(), signal.SIGSTOP)
            return read(batches, step)

        PhaseBatches.__call__ = stops
    job.folder.mkdir(exist_ok=True)
    context = StageContext("train[1]", home, job.folder, lambda event: None)
    worker.local_worker(rank, job, context, folder / "rendezvous")


if __name__ == "__main__":
    main()
