"""One worker of a test's training runs: `train_worker.py RANK WORLD RENDEZVOUS JOBS`, JOBS being a JSON file.

Each job trains the tiny model on random ids that depend on the step alone. Worker 0 writes losses.json beside the
job's checkpoints. `kill_at` makes the last worker kill itself (SIGKILL) when it is asked for that step's batch.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from arctic_model.loop import TrainingPlan, train
from arctic_model.objective import Batch
from arctic_model.optimizer import Optimization
from arctic_model.presets import preset
from arctic_model.schedule import Schedule

SEQUENCES, LENGTH = 4, 16


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    for job in json.loads(Path(sys.argv[4]).read_text(encoding="utf-8")):
        run(job, rank, world)
    dist.barrier()
    dist.destroy_process_group()


def run(job: dict, rank: int, world: int) -> None:
    folder = Path(job["folder"])
    micro = job.get("micro", SEQUENCES // world)
    plan = TrainingPlan(
        config=preset("tiny"),
        optimization=Optimization(
            zero_stage=job.get("zero", 1),
            dtype=job.get("dtype", "float32"),
            balance_loss_coefficient=0.1,
            z_loss_coefficient=0.01,
            gradient_clip=0.5,
        ),
        schedule=Schedule(peak_lr=0.003, warmup_tokens=SEQUENCES * LENGTH * 2),
        first_step=0,
        last_step=job["steps"],
        tokens_per_step=SEQUENCES * LENGTH,
        num_micro_batches=SEQUENCES // (world * micro),
        checkpoint_every_steps=4,
        expert_parallel_size=job.get("experts", 1),
        folder=folder,
    )
    observer = Recorder()

    def batches(step: int) -> list[Batch]:
        if step == job.get("kill_at") and rank == world - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        share = slice(rank * SEQUENCES // world, (rank + 1) * SEQUENCES // world)
        parts = [part[share].split(micro) for part in whole_batch(step)]
        return [Batch(*pass_) for pass_ in zip(*parts, strict=True)]

    train(plan, batches, observer)
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps(observer.records), encoding="utf-8")


def whole_batch(step: int) -> Batch:
    """Four sequences of two documents each, the last with padding; a narrow band of ids, so that there is something
    to learn."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 60, (SEQUENCES, LENGTH + 1), generator=generator)
    segments = (torch.arange(LENGTH) >= 7).int().repeat(SEQUENCES, 1)
    positions = torch.arange(LENGTH).repeat(SEQUENCES, 1) - 7 * segments
    segments[-1, 12:] = -1
    targets = ids[:, 1:].clone()
    targets[:, 6] = -1
    targets[-1, 11:] = -1
    return Batch(ids[:, :-1].contiguous(), positions, segments, targets)


class Recorder:
    def __init__(self) -> None:
        self.records: list[dict] = []

    def stepped(self, step: int) -> None:
        pass

    def committed(self, records: list[dict]) -> None:
        self.records += records


if __name__ == "__main__":
    main()
