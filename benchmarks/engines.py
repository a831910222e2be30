"""A step of the flat engine and of DeepSpeed's: CPU time and memory, on one worker and on two.

python benchmarks/engines.py [--quick]

All contenders run the same model, data, AdamW and float32 sums of gradients, each in separate processes with one
thread, in turns. A turn is some steps; its time is the CPU time of the slower worker, its threads of collectives
included. Memory is the largest resident set of a worker beyond that before the engine.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from harness import Timing, arguments, machine, report, times_as_fast

from arctic_model.peak_memory import peak_resident_bytes
from arctic_model.presets import preset
from arctic_model.training.engine import Engine
from arctic_model.training.losses.objective import Batch, Scale, training_loss
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.process import reuse_freed_memory

WIDTHS = {"hidden_size": 256, "num_layers": 6, "num_experts": 16, "vocab_size": 4096}
SEQUENCES, LENGTH, PASSES = 1, 256, 2
GOAL = "no more CPU time and no more memory than DeepSpeed at the same stage"


@dataclass(frozen=True)
class Contender:
    """Settings of one arrangement."""

    engine: str
    zero_stage: int
    dtype: str
    num_workers: int

    @property
    def name(self) -> str:
        return f"{self.engine} ZeRO-{self.zero_stage}"


@dataclass
class Running:
    """A contender's processes, and their answers."""

    pipes: list[Connection]
    seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0

    def take_turn(self, num_steps: int, *, counts: bool) -> None:
        for pipe in self.pipes:
            pipe.send(num_steps)
        answers = [pipe.recv() for pipe in self.pipes]
        self.memory_bytes = max(memory for _, memory in answers)
        if counts:
            self.seconds.append(max(seconds for seconds, _ in answers) / num_steps)


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    turns, steps = (3, 1) if quick else (15, 2)
    print(machine("torch", "deepspeed"))
    print(
        f"{PASSES} passes of {SEQUENCES} x {LENGTH} tokens a worker and step; median of {turns} turns of {steps} steps."
    )
    print(
        "\n| workers | dtype | engine | CPU s a step | spread | against DeepSpeed | MB |\n|---|---|---|---|---|---|---|"
    )
    for num_workers, dtype in [(2, "bfloat16")] if quick else [(1, "float32"), (2, "float32"), (2, "bfloat16")]:
        timings, memory = race(arrangements(num_workers, dtype), turns, steps)
        for each, timing in timings.items():
            base = timings[Contender("deepspeed", min(each.zero_stage, 2), dtype, num_workers)]
            figures = (f"{timing.median:.3f}", f"{timing.spread:.0%}", f"{times_as_fast(timing, base):.2f} x")
            row = (str(num_workers), dtype, each.name, *figures, f"{memory[each] / 1e6:,.0f}")
            print(f"| {' | '.join(row)} |", flush=True)
    flat, base = (timings[Contender(engine, 1, dtype, num_workers)] for engine in ("flat", "deepspeed"))
    peers = {"deepspeed": base.median}
    report(
        "engines: ZeRO-1 in bfloat16, two workers", flat.median, peers, "CPU s a step", times_as_fast(flat, base), GOAL
    )


def arrangements(num_workers: int, dtype: str) -> list[Contender]:
    stages = [("deepspeed", 1), ("flat", 1), ("deepspeed", 2), ("flat", 2), ("flat", 3)]
    return [Contender(engine, stage, dtype, num_workers) for engine, stage in stages]


def race(contenders: list[Contender], turns: int, steps: int) -> tuple[dict[Contender, Timing], dict[Contender, int]]:
    """CPU seconds of a step by turn, and bytes. A first turn of each is not counted."""
    with TemporaryDirectory() as folder, _started(contenders, Path(folder)) as running:
        for turn in range(turns + 1):
            for each in running.values():
                each.take_turn(steps, counts=turn > 0)
        timings = {contender: Timing(each.seconds) for contender, each in running.items()}
        return timings, {contender: each.memory_bytes for contender, each in running.items()}


@contextmanager
def _started(contenders: list[Contender], folder: Path) -> Iterator[dict[Contender, Running]]:
    spawning = multiprocessing.get_context("spawn")
    running, processes = {}, []
    for number, contender in enumerate(contenders):
        ends = [spawning.Pipe() for _ in range(contender.num_workers)]
        for rank, (_, theirs) in enumerate(ends):
            process = spawning.Process(target=work, args=(contender, rank, str(folder / str(number)), theirs))
            process.start()
            processes.append(process)
        running[contender] = Running([ours for ours, _ in ends])
    yield running
    for each in running.values():
        for pipe in each.pipes:
            pipe.send(0)
    for process in processes:
        process.join()


def work(contender: Contender, rank: int, rendezvous: str, pipe: Connection) -> None:
    """One worker: takes the requested number of steps, until it is asked for none."""
    torch.set_num_threads(1)
    reuse_freed_memory()
    world = contender.num_workers
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    config = preset("quickstart", WIDTHS)
    settings = Optimization(
        engine=contender.engine,  # type: ignore[arg-type]
        optimizer="adamw",
        zero_stage=contender.zero_stage,  # type: ignore[arg-type]
        dtype=contender.dtype,  # type: ignore[arg-type]
    )
    before = peak_resident_bytes()
    engine = Engine(config, settings, 1, PASSES, training_loss)
    batches = [_batch(number * world + rank, config.vocab_size) for number in range(PASSES)]
    tokens = float(PASSES * world * SEQUENCES * LENGTH)
    scale = Scale(
        tokens, tokens, torch.full((config.num_layers, config.num_experts), config.top_k / config.num_experts)
    )
    while num_steps := pipe.recv():
        started = time.process_time()
        for _ in range(num_steps):
            for number, batch in enumerate(batches):
                if number:
                    engine.end_micro_batch()
                engine.backward(engine.forward(batch, scale, settings)[0])
            engine.step(1e-4, engine.gradient_norm())
        pipe.send((time.process_time() - started, peak_resident_bytes() - before))
    engine.close()
    dist.destroy_process_group()


def _batch(seed: int, vocab_size: int) -> Batch:
    ids = torch.randint(0, vocab_size, (SEQUENCES, LENGTH + 1), generator=torch.Generator().manual_seed(seed))
    positions = torch.arange(LENGTH).repeat(SEQUENCES, 1)
    segments = torch.zeros(SEQUENCES, LENGTH, dtype=torch.int32)
    return Batch(ids[:, :-1].contiguous(), positions, segments, ids[:, 1:].contiguous())


if __name__ == "__main__":
    main()
