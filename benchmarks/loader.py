"""The loader: packed sequences in a phase's shuffled order, tokens a second on one core, against mosaicml-streaming.

python benchmarks/loader.py [--quick] [--streaming-python PYTHON]

mosaicml-streaming pins other versions than this project, so it runs in a separate interpreter; without it there is no
ratio. To make one: python -m venv /tmp/streaming && /tmp/streaming/bin/pip install mosaicml-streaming torch
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from harness import Timing, machine, one_core, report

from arctic_model.presets import preset
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.spikes import SpikePolicy
from pipelines.artifacts.sequence_order.phase_plan import CorpusShare, PhasePlan
from pipelines.artifacts.tokenization.tokens import PIECES, TokensIndex, write_token_shard
from pipelines.tokenize.packing import pack
from pipelines.train.data import PhaseBatches
from pipelines.train.job import CheckpointPolicy, Segment, TrainJob, WorkerGroup

T, BATCH, VOCABULARY = 4096, 8, 32_000
GOAL = "3 x mosaicml-streaming's loader"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data and fewer repeats, under 50 seconds")
    parser.add_argument("--streaming-python", metavar="PYTHON", help="interpreter that has mosaicml-streaming")
    options = parser.parse_args()
    one_core()
    torch.set_num_threads(1)
    repeats = 3 if options.quick else 7
    with tempfile.TemporaryDirectory() as folder:
        rows = write_corpus(Path(folder), 6_000_000 if options.quick else 40_000_000)
        num_rows = len(rows) // BATCH * BATCH
        contenders = {"ours": lambda: read_ours(Path(folder), num_rows)}
        np.save(Path(folder) / "rows.npy", rows[:num_rows])
        with streaming_peer(options.streaming_python, Path(folder)) as (versions, peers):
            timings = in_turn(contenders | peers, repeats)
    print(machine("numpy", "torch") + versions)
    print(f"{num_rows} sequences of {T} tokens, batches of {BATCH}, CPU time on one core, median of {repeats}\n")
    print("| contender | gives | M tokens/s | us a sequence | spread |\n|---|---|---|---|---|")
    rates = {name: num_rows * T / timing.median / 1e6 for name, timing in timings.items()}
    for name, rate in rates.items():
        gives = "ids, positions, segments, targets" if name == "ours" else "ids"
        print(f"| {name} | {gives} | {rate:.1f} | {T / rate:.1f} | {timings[name].spread:.0%} |")
    ratio = rates["ours"] / rates["mosaicml-streaming loader"] if len(rates) > 1 else float("nan")
    print(f"\nours is {ratio:.1f} x mosaicml-streaming's loader" if len(rates) > 1 else "\nno peer: see --help")
    report("loader", rates.pop("ours"), rates, "million tokens/s per core", ratio if rates else 0.0, GOAL)


def write_corpus(folder: Path, num_tokens: int) -> np.ndarray:
    """A corpus of documents of web-like lengths (log-normal, mean about 1,100 tokens), packed; returns its rows."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(6.4, 1.1, num_tokens // 1000), 2, 100_000).astype(np.int64)
    placed = pack(lengths, T + 1)
    doc_ids = [f"{document:032x}" for document in placed.document]
    columns = [placed.row, placed.start, placed.length, doc_ids, placed.doc_start, placed.document]
    pieces = pa.table(columns, names=PIECES.names)
    rows = random.integers(2, VOCABULARY, (placed.num_rows, T + 1)).astype(np.uint16)
    write_token_shard(rows, pieces, folder, "train", 0)
    TokensIndex(T, "uint16", VOCABULARY, 0, 1, {"train": [len(rows)]}, {}, {}).write(folder)
    return rows


def read_ours(folder: Path, num_rows: int) -> int:
    """One pass in the plan's order; the sum of all ids."""
    PhasePlan.of("bench", T, 1, (CorpusShare("web", num_rows, 0, num_rows),)).write(folder)
    job = TrainJob(
        config=preset("tiny", {"vocab_size": VOCABULARY}),
        group=WorkerGroup(),
        checkpoints=CheckpointPolicy(),
        segments=(
            Segment(0, num_rows // BATCH, 0, BATCH, BATCH, Optimization(), Schedule(1.0), SpikePolicy(), folder),
        ),
        sequence_length=T,
        tokens={"web": folder},
        folder=folder,
    )
    batches = PhaseBatches(job, 0, 1)
    return sum(int(batch.ids.sum()) for step in range(1, job.last_step + 1) for batch in batches(step))


@contextmanager
def streaming_peer(python: str | None, folder: Path) -> Iterator[tuple[str, dict[str, Callable[[], tuple]]]]:
    """Its versions, and its contenders, each giving (CPU seconds, sum of all ids)."""
    if python is None:
        yield "", {}
        return
    script = Path(__file__).with_name("streaming_peer.py")
    command = [python, str(script), str(folder / "rows.npy"), str(folder / "mds"), str(BATCH)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def ask(name: str) -> tuple[float, int]:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            seconds, total = process.stdout.readline().split()
            return float(seconds), int(total)

        streaming, torch_version = process.stdout.readline().split()
        names = {"mosaicml-streaming loader": "loader", "mosaicml-streaming single items": "items"}
        peers = {name: lambda kind=kind: ask(kind) for name, kind in names.items()}
        yield f"; peer: mosaicml-streaming {streaming}, torch {torch_version}", peers
        process.stdin.close()


def in_turn(contenders: dict[str, Callable], repeats: int) -> dict[str, Timing]:
    """CPU seconds of each contender, in turn after one round that is not counted. All must read the same tokens."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    sums = set()
    for round_number in range(repeats + 1):
        for name, work in contenders.items():
            started = time.process_time()
            result = work()
            spent, total = result if isinstance(result, tuple) else (time.process_time() - started, result)
            sums.add(total)
            if round_number:
                seconds[name].append(spent)
    if len(sums) > 1:
        raise AssertionError(f"the contenders read different tokens: their ids sum to {sums}")
    return {name: Timing(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
