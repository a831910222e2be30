"""AdamW and Muon, WSD and cosine, at equal tokens: held-out bits per byte of a small model trained on source code.

python benchmarks/optimizers.py [--quick]

The text is Python's own standard library, a token a byte, so the script needs nothing but this project. Every contender
is trained at each learning rate and seed, and is compared at its best learning rate.
"""

import math
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from zlib import crc32

import numpy as np
import torch
import torch.distributed as dist
from harness import arguments, machine, report

from arctic_model.checkpoint.model_folder import checkpoint_name
from arctic_model.model import ArcticModel
from arctic_model.presets import preset
from arctic_model.training import history
from arctic_model.training.loop import train
from arctic_model.training.losses.cross_entropy import head_nll
from arctic_model.training.losses.objective import Batch
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.plan import TrainingPlan

T, SEQUENCES = 128, 16
SEPARATOR = 256
"""Precedes every document; ids below are bytes."""
CONTENDERS = [("adamw", "wsd"), ("adamw", "cosine"), ("muon", "wsd"), ("muon", "cosine")]
WARMUP, DECAY, FINAL = 0.1, 0.2, 0.1
"""Shares of all tokens that warm up and, with WSD, decay; the last rate as a share of the peak."""
HELD_OUT = 20
"""One file in this many is held out from training."""
HELD_OUT_ROWS = 128
GOAL = "the best held-out bits per byte is the default"


@dataclass(frozen=True)
class Run:
    optimizer: str
    schedule: str
    peak_lr: float
    seed: int
    num_steps: int


@dataclass(frozen=True)
class Outcome:
    """Bits per held-out byte, the largest gradient norm as a multiple of the median before it, and the median seconds
    of a step."""

    bits_per_byte: float
    largest_norm: float
    skipped: int
    step_s: float


def main() -> None:
    quick = arguments(__doc__.splitlines()[0]).quick
    rates, seeds, num_steps = ([0.006], [0], 30) if quick else ([0.0015, 0.004, 0.012, 0.03], [0, 1], 100)
    runs = [Run(*names, rate, seed, num_steps) for names, rate, seed in product(CONTENDERS, rates, seeds)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        outcomes = dict(zip(runs, pool.map(trained, runs), strict=True))
    print(machine("torch", "deepspeed"))
    print(f"{num_steps} steps of {SEQUENCES * T} bytes, preset quickstart of two layers, {len(seeds)} seeds\n")
    print_table(outcomes, rates, seeds)
    print_seconds(outcomes)
    best = {names: min(mean_bits(outcomes, names, rate) for rate in rates) for names in CONTENDERS}
    ours, *peers = sorted(best, key=best.__getitem__)
    name = " + ".join(ours)
    report(
        f"optimizers: {name}",
        best[ours],
        {" + ".join(peer): best[peer] for peer in peers},
        "bits per byte",
        best["adamw", "wsd"] / best[ours],
        GOAL,
    )


def print_table(outcomes: Mapping[Run, Outcome], rates: Sequence[float], seeds: Sequence[int]) -> None:
    print("Held-out bits per byte at the end: mean over seeds (each seed)\n")
    print(
        f"| optimizer | schedule | {' | '.join(f'peak {rate:g}' for rate in rates)} | largest norm / median | skipped |"
    )
    print(f"|---|---|{'---|' * len(rates)}---|---|")
    for names in CONTENDERS:
        own = {run: outcome for run, outcome in outcomes.items() if (run.optimizer, run.schedule) == names}
        cells = []
        for rate in rates:
            each = [outcome.bits_per_byte for run, outcome in own.items() if run.peak_lr == rate]
            cells.append(f"{mean(each):.4f} ({', '.join(f'{bits:.4f}' for bits in each)})")
        largest = max(outcome.largest_norm for outcome in own.values())
        skipped = sum(outcome.skipped for outcome in own.values())
        print(f"| {names[0]} | {names[1]} | {' | '.join(cells)} | {largest:.1f} | {skipped} |")
    print()


def print_seconds(outcomes: Mapping[Run, Outcome]) -> None:
    """Two runs share the machine, one core each: the ratio is more reliable than the milliseconds."""
    steps = {
        name: median(outcome.step_s for run, outcome in outcomes.items() if run.optimizer == name)
        for name in ("adamw", "muon")
    }
    each = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in steps.items())
    print(f"A step of {SEQUENCES * T} tokens: {each}, muon / adamw {steps['muon'] / steps['adamw']:.2f}\n")


def mean_bits(outcomes: Mapping[Run, Outcome], names: tuple[str, str], rate: float) -> float:
    return mean(
        outcome.bits_per_byte
        for run, outcome in outcomes.items()
        if (run.optimizer, run.schedule, run.peak_lr) == (*names, rate)
    )


def trained(run: Run) -> Outcome:
    """One training, in a separate process on one core."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_of(run, Path(folder))
            stopwatch = Stopwatch()
            train(plan, Shuffled(run.seed), stopwatch)
            records = history.read(plan.history, run.num_steps)
            bits = bits_per_byte(plan.checkpoints / checkpoint_name(run.num_steps))
    finally:
        dist.destroy_process_group()
    norms = [record["gradient_norm"] for record in records]
    largest = max(norm / median(norms[: step + 1]) for step, norm in enumerate(norms))
    return Outcome(bits, largest, sum(record["skipped"] for record in records), median(stopwatch.seconds))


def plan_of(run: Run, folder: Path) -> TrainingPlan:
    step = SEQUENCES * T
    total = run.num_steps * step
    warmup = int(WARMUP * total)
    start = warmup if run.schedule == "cosine" else total - int(DECAY * total)
    decay = "cosine" if run.schedule == "cosine" else "linear"
    return TrainingPlan(
        config=preset("quickstart", {"vocab_size": SEPARATOR + 1, "num_layers": 2}),
        optimization=Optimization(optimizer=run.optimizer, zero_stage=0, seed=run.seed),
        schedule=Schedule(run.peak_lr, FINAL, warmup, start, total, decay),
        first_step=0,
        last_step=run.num_steps,
        sequence_length=T,
        tokens_per_step=step,
        num_micro_batches=1,
        checkpoint_every_steps=run.num_steps,
        expert_parallel_size=1,
        folder=folder,
    )


class Shuffled:
    """Batches of training rows in an order of the seed's; every contender of a seed reads the same."""

    def __init__(self, seed: int) -> None:
        self._rows = packed(False)
        self._order = np.random.default_rng(seed).permutation(len(self._rows))

    def __call__(self, step: int) -> list[Batch]:
        return [batch_of(self._rows[self._order[(step - 1) * SEQUENCES : step * SEQUENCES]])]


class Stopwatch:
    """Seconds of every step. Nothing else is reported."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def stepped(self, step: int, seconds: float) -> None:
        self.seconds.append(seconds)

    def recorded(self, records: Sequence[history.Record]) -> None: ...

    def saving(self) -> None: ...

    def traced(self, file: Path) -> None: ...


@cache
def packed(held_out: bool) -> np.ndarray:
    """Rows of T + 1 ids: the documents one after the other, each behind a separator."""
    documents = [np.frombuffer(text, np.uint8).astype(np.int64) for text in source_files(held_out)]
    stream = np.concatenate([part for document in documents for part in ([SEPARATOR], document)])
    return stream[: len(stream) // (T + 1) * (T + 1)].reshape(-1, T + 1)


def source_files(held_out: bool) -> Iterator[bytes]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(library.rglob("*.py")):
        name = file.relative_to(library).as_posix()
        if "site-packages" not in name and (crc32(name.encode()) % HELD_OUT == 0) == held_out:
            yield file.read_bytes()


def batch_of(rows: np.ndarray) -> Batch:
    """Text after a separator is another document: no token attends or predicts across it."""
    ids, targets = rows[:, :-1], rows[:, 1:].copy()
    targets[targets == SEPARATOR] = -1
    begins = ids == SEPARATOR
    at = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    positions = at - np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    columns = (ids.copy(), positions, begins.cumsum(axis=1).astype(np.int32), targets)
    return Batch(*(torch.from_numpy(column) for column in columns))


@torch.no_grad()
def bits_per_byte(checkpoint: Path) -> float:
    model = ArcticModel.from_pretrained(checkpoint)
    rows = packed(True)[:: max(1, len(packed(True)) // HELD_OUT_ROWS)]
    nll = num_bytes = 0.0
    for part in np.array_split(rows, -(-len(rows) // SEQUENCES)):
        batch = batch_of(part)
        hidden, *_ = model.hidden_states(batch.ids, batch.positions, batch.segments)
        total, *_ = head_nll(hidden.flatten(0, 1), model.lm_head.weight, batch.targets.flatten())
        nll, num_bytes = nll + float(total), num_bytes + float((batch.targets >= 0).sum())
    return nll / num_bytes / math.log(2)


if __name__ == "__main__":
    main()
