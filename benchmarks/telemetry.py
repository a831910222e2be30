"""The cost of telemetry in a training step: CPU time of steps of the quickstart model on one core, every other one
without telemetry; of telemetry's own calls, which are too few to be seen there; and of the norm of the gradient, which
is computed before every update.

    python benchmarks/telemetry.py [--quick]
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from harness import arguments, machine, one_core, report

from arctic_model.layers.attention.context_parallel import WHOLE_SEQUENCES
from arctic_model.moe.dispatch import ExpertGroup
from arctic_model.presets import preset
from arctic_model.training import loop
from arctic_model.training.engine import Engine
from arctic_model.training.loop import train
from arctic_model.training.losses.objective import Batch
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.telemetry import PARTS, Telemetry, Work

SEQUENCES, LENGTH, VOCABULARY = 4, 256, 2048
"""Of one worker of the quickstart run, in one pass."""
WARM_UP_STEPS = 6
GOAL = "below 1 % of a step"


class Alternating(Telemetry):
    """Telemetry on even steps, nothing on odd ones. Keeps the CPU seconds that each step takes, and telemetry in it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.step = 0
        self.began = time.process_time()
        STEPS.clear()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if self.step % 2:
            yield
            return
        with super().part(name):
            yield

    def end_step(self, record: Any) -> None:
        if not self.step % 2:
            super().end_step(record)
        now = time.process_time()
        STEPS.append(now - self.began)
        self.began, self.step = now, self.step + 1


STEPS: list[float] = []
NORMS: list[float] = []


def timed_norm(engine: Engine) -> float:
    began = time.process_time()
    norm = GRADIENT_NORM(engine)
    NORMS.append(time.process_time() - began)
    return norm


GRADIENT_NORM = Engine.gradient_norm


def batches(step: int) -> list[Batch]:
    """Random ids: the cost of a step does not depend on them."""
    ids = torch.randint(0, VOCABULARY, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(step % 8))
    positions = torch.arange(LENGTH).repeat(SEQUENCES, 1)
    corpora = torch.eye(3, dtype=torch.bool)[:, torch.arange(SEQUENCES) % 3]
    return [Batch(ids, positions, torch.zeros_like(ids, dtype=torch.int32), ids.roll(-1, 1), corpora)]


class Silent:
    """Nobody watches."""

    def stepped(self, step: int, seconds: float) -> None:
        pass

    def recorded(self, records: Any) -> None:
        pass

    def saving(self) -> None:
        pass

    def traced(self, file: Path) -> None:
        pass


def main() -> None:
    steps = 60 if arguments(__doc__ or "").quick else 200
    one_core()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(loop, "Telemetry", Alternating),
        patch.object(Engine, "gradient_norm", timed_norm),
    ):
        train(plan(Path(folder), WARM_UP_STEPS + steps), batches, Silent())
    dist.destroy_process_group()
    reported, silent = (STEPS[WARM_UP_STEPS + odd :: 2] for odd in (0, 1))
    with_it, without = statistics.median(reported), statistics.median(silent)
    print(machine("torch", "deepspeed"))
    print(f"{steps} steps of {SEQUENCES * LENGTH} tokens, CPU time of one core, medians")
    print(f"step with telemetry     {with_it * 1e3:8.2f} ms   fastest {min(reported) * 1e3:8.2f}")
    print(f"step without            {without * 1e3:8.2f} ms   fastest {min(silent) * 1e3:8.2f}")
    print(f"of which gradient norm  {statistics.median(NORMS) * 1e3:8.2f} ms")
    calls = seconds_of_calls(2 * steps)
    print(f"telemetry's own calls   {calls * 1e3:8.3f} ms, {calls / without:.2%} of a step")
    report("telemetry", calls, {"step": without}, "CPU seconds", calls / without, GOAL)


def seconds_of_calls(steps: int) -> float:
    """Mean CPU seconds of telemetry's calls in a step of one pass."""
    telemetry = Telemetry(
        torch.device("cpu"), ExpertGroup(), WHOLE_SEQUENCES, Work(SEQUENCES * LENGTH, 10**10, None), 1
    )
    began = time.process_time()
    for _ in range(steps):
        for name in PARTS:
            with telemetry.part(name):
                pass
        telemetry.end_step({})
    return (time.process_time() - began) / steps


def plan(folder: Path, steps: int) -> TrainingPlan:
    return TrainingPlan(
        config=preset("quickstart", {"vocab_size": VOCABULARY}),
        optimization=Optimization(balance_loss_coefficient=0.01),
        schedule=Schedule(peak_lr=0.003, warmup_tokens=64 * SEQUENCES * LENGTH),
        first_step=0,
        last_step=steps,
        sequence_length=LENGTH,
        tokens_per_step=SEQUENCES * LENGTH,
        num_micro_batches=1,
        checkpoint_every_steps=steps,
        expert_parallel_size=1,
        folder=folder,
        corpora=("general", "code", "enterprise"),
    )


if __name__ == "__main__":
    main()
