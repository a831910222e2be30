"""Texts without end: nats per token by 64K block with and without sinks, speed and memory of a million new tokens.

python benchmarks/endless_stream.py [--quick] [--alone] [--weights FOLDER] [--figure FILE]

A dense model learns Python's library in sequences of 256 tokens, each behind the end id. Then it reads a million tokens
of files that it was not trained on. Every block has the same passages in another order, so blocks differ only by how
much was read before. The contenders: a window with 4 sinks, a window without, and all tokens, which are more than the
model has positions. Their twin is the same model on the same passages cut into sequences as long as the window.

Meanwhile it writes a million tokens in 8 streams, as the server does; `--alone` writes them in one. `--weights` is the
folder of a dense Hugging Face model, which reads less: a model trained for minutes hardly needs sinks, and one trained
for long does.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from harness import machine, report
from long_context import Silent
from long_context_texts import library
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from arctic_model import ArcticModel, Stream, StreamWindow
from arctic_model.checkpoint.model_folder import checkpoint_name
from arctic_model.inference.completion import Completion, Request
from arctic_model.inference.engine import Engine
from arctic_model.inference.sampling import Sampling
from arctic_model.inference.streaming import StreamDecoder
from arctic_model.peak_memory import peak_resident_bytes
from arctic_model.presets import preset
from arctic_model.training.loop import train
from arctic_model.training.losses.cross_entropy import token_nll
from arctic_model.training.losses.objective import Batch
from arctic_model.training.optimization.schedule import Schedule
from arctic_model.training.optimization.settings import Optimization
from arctic_model.training.plan import TrainingPlan
from arctic_model.training.saving import CHECKPOINTS
from pipelines.artifacts.tokenization.tokenizer import TextTokenizer
from pipelines.report.figures.style import CARD_INCHES, COLOURS, INK, figure_style, write_png
from pipelines.tokenize.pack_texts import train_tokenizer

LENGTH, VOCABULARY, WORKERS = 256, 2048, 2
SHAPE = {"num_layers": 2, "num_experts": 0, "hidden_size": 64, "num_heads": 4, "num_kv_heads": 4, "tied_head": True}
ROWS, PEAK, WARMUP_STEPS = 16, 0.004, 50
NUM_SINKS, NUM_STREAMS = 4, 8
OURS = "window, 4 sinks"
SINKS: Mapping[str, int | None] = {OURS: NUM_SINKS, "window, no sinks": 0, "no window": None}
"""By contender; None: it sees all tokens."""
PASSAGE, PIECE, PROMPT = 512, 1024, 64
"""Tokens of a passage, those whose logits are held at once, and those before a text that is written."""
PRETRAINED_SIZE, PRETRAINED_BLOCK = 512, 2048
"""Tokens of its window with sinks, and of its blocks."""
GOAL = "with sinks every block within 1 % of the first, 10^6 new tokens at constant speed and memory"


class Size(NamedTuple):
    """How much is trained, read and written. `unlimited` tokens are read without a window; `timed` are new tokens in a
    row."""

    steps: int
    block: int
    num_blocks: int
    unlimited: int
    pretrained_blocks: int
    pretrained_unlimited: int
    new_tokens: int
    timed: int


WHOLE = Size(800, 65_536, 16, 65_536, 8, 5 * PRETRAINED_BLOCK, 1_000_000, 10_000)
QUICK = Size(30, 4096, 4, 8192, 1, PRETRAINED_BLOCK, 4000, 800)


@dataclass(frozen=True)
class Reader:
    """A model, and what it reads: `passages` [P, PASSAGE] are a block, of which there are `num_blocks`, or `unlimited`
    tokens without a window. Window and sinks hold `size` tokens; `first_id` precedes the text."""

    name: str
    checkpoint: Path
    first_id: int
    size: int
    passages: np.ndarray
    num_blocks: int
    unlimited: int

    @property
    def block(self) -> int:
        """Tokens of a block."""
        return self.passages.size

    def ids(self, number: int) -> torch.Tensor:
        """The passages in the order of block `number`."""
        order = np.random.default_rng(number).permutation(len(self.passages))
        return torch.from_numpy(self.passages[order].ravel())


class Outcome(NamedTuple):
    """Nats of each token by contender, and the twin's mean."""

    reader: Reader
    nats: Mapping[str, np.ndarray]
    twin: float

    @property
    def blocks(self) -> dict[str, list[float]]:
        """Nats per token of whole blocks."""
        return {name: by_block(nats, self.reader.block) for name, nats in self.nats.items()}


class Slice(NamedTuple):
    """Tokens written in a row: how many per second of CPU time and by the clock, and behind them the peak of resident
    memory since the process began and the memory of the answers, both in MB."""

    tokens_per_cpu_s: float
    tokens_per_s: float
    peak_mb: float
    answers_mb: float


def main() -> None:
    options = arguments()
    size, started = QUICK if options.quick else WHOLE, time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        train_tokenizer([text[:4000] for text in library(held_out=False).files[::4]], VOCABULARY, base / "tokenizer")
        with workers(WORKERS) as pool:
            list(pool.map(trained, [base] * WORKERS, [size.steps] * WORKERS, range(WORKERS)))
        print(f"trained after {time.perf_counter() - started:.0f} s", flush=True)
        num_streams, reader = 1 if options.alone else NUM_STREAMS, small(base, size)
        with workers(1) as writing, workers(1) as reading:
            slices = writing.submit(written, reader, base / "tokenizer", num_streams, size)
            readers = [reader, *([pretrained(options.weights, size)] if options.weights else [])]
            outcomes = [read(reading, each) for each in readers]
            if options.figure:
                with figure_style():
                    write_png(drawn(outcomes), options.figure)
            print_writing(slices.result(), size, num_streams)
    print(f"{machine('torch')}; {time.perf_counter() - started:.0f} s")
    blocks = outcomes[0].blocks
    first, *others = blocks.pop(OURS)
    peers = {name: nats[-1] for name, nats in blocks.items()} | {"sequences": outcomes[0].twin}
    change = max((nats / first for nats in others), key=lambda ratio: abs(ratio - 1))
    report("endless stream", others[-1], peers, "nats per token in the last block", change, GOAL)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, under 50 seconds")
    parser.add_argument("--alone", action="store_true", help="write one stream, which takes several times as long")
    parser.add_argument("--weights", type=Path, help="folder of a dense Hugging Face model, which reads as well")
    parser.add_argument("--figure", type=Path, help="file for the figure, a PNG")
    return parser.parse_args()


def workers(number: int) -> ProcessPoolExecutor:
    """New processes, so that the memory of one piece of work is measured alone."""
    return ProcessPoolExecutor(number, mp_context=get_context("spawn"))


def read(pool: ProcessPoolExecutor, reader: Reader) -> Outcome:
    """All contenders and the twin, printed."""
    nats = {name: pool.submit(nats_read, reader, sinks) for name, sinks in SINKS.items()}
    twin = pool.submit(nats_of_twin, reader)
    outcome = Outcome(reader, {name: future.result() for name, future in nats.items()}, twin.result())
    print_reading(outcome)
    return outcome


def print_reading(outcome: Outcome) -> None:
    reader, blocks = outcome.reader, outcome.blocks
    print(f"\n{reader.name}: nats per token by block of {reader.block:,} tokens; the twin has {outcome.twin:.4f}\n")
    print(f"| block | {' | '.join(blocks)} |\n|---|{'---|' * len(blocks)}")
    for number in range(reader.num_blocks):
        cells = [f"{nats[number]:.4f}" if number < len(nats) else "-" for nats in blocks.values()]
        print(f"| {number + 1} | {' | '.join(cells)} |")
    print(flush=True)


def print_writing(slices: Sequence[Slice], size: Size, num_streams: int) -> None:
    tenth = max(1, len(slices) // 10)
    print(f"\nWriting {size.new_tokens:,} tokens in {num_streams} at a time, by slices of {size.timed:,}\n")
    print("| | tokens per CPU second | tokens/s | peak memory, MB | of which answers |\n|---|---|---|---|---|")
    for name, part in {
        "first": slices[:1],
        f"median of the first {tenth}": slices[:tenth],
        "median of all": slices,
        f"median of the last {tenth}": slices[-tenth:],
        "last": slices[-1:],
    }.items():
        cpu, clock = (statistics.median(column) for column in list(zip(*part, strict=True))[:2])
        print(f"| {name} | {cpu:,.0f} | {clock:,.0f} | {part[-1].peak_mb:.0f} | {part[-1].answers_mb:.0f} |")
    rates = [each.tokens_per_cpu_s for each in slices]
    print(
        f"\nLowest and highest of {len(rates)} slices: {min(rates):,.0f} and {max(rates):,.0f} tokens per CPU second\n"
    )


# ---------------------------------------------------------------- the models


def small(base: Path, size: Size) -> Reader:
    """The model that `trained` left, and held-out files."""
    tokenizer = TextTokenizer(base / "tokenizer")
    passages = cut([tokenizer.encode(text) for text in library(held_out=True).files], size.block)
    checkpoint = base / "run" / CHECKPOINTS / checkpoint_name(size.steps)
    return Reader("trained here", checkpoint, tokenizer.end_id, LENGTH, passages, size.num_blocks, size.unlimited)


def pretrained(folder: Path, size: Size) -> Reader:
    """A Hugging Face model, and the beginning of the held-out files in its own tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for text in library(held_out=True).files if text.strip()]
    passages = cut(tokenizer(texts[: len(texts) // 2], add_special_tokens=False)["input_ids"], PRETRAINED_BLOCK)
    sizes = (PRETRAINED_SIZE, passages, size.pretrained_blocks, size.pretrained_unlimited)
    return Reader("pretrained", folder.resolve(), tokenizer.bos_token_id, *sizes)


def cut(texts: Sequence[Sequence[int]], block: int) -> np.ndarray:
    """The first `block` ids of the texts in a row, as passages [P, PASSAGE]."""
    return np.concatenate([np.array(ids, np.int64) for ids in texts])[:block].reshape(-1, PASSAGE)


def trained(base: Path, steps: int, rank: int) -> None:
    """The small model, by one of WORKERS processes on a core each."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(base / "workers"), WORKERS), rank=rank, world_size=WORKERS)
    tokenizer, tokens = TextTokenizer(base / "tokenizer"), ROWS * LENGTH
    ids = np.concatenate([np.array(tokenizer.encode(text), np.int64) for text in library(held_out=False).files])
    rows = ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)
    positions, segments = torch.arange(LENGTH).repeat(ROWS // WORKERS, 1), torch.zeros(ROWS // WORKERS, LENGTH).int()

    def batches(step: int) -> list[Batch]:
        drawn = np.random.default_rng(step).integers(len(rows), size=ROWS)[rank::WORKERS]
        targets = torch.from_numpy(rows[drawn])
        return [Batch(behind(tokenizer.end_id, targets), positions, segments, targets)]

    plan = TrainingPlan(
        config=preset("quickstart", {**SHAPE, "vocab_size": VOCABULARY, "max_positions": LENGTH}),
        optimization=Optimization(engine="flat", zero_stage=0, weight_decay=0.0),
        schedule=Schedule(PEAK, 0.1, WARMUP_STEPS * tokens, steps * tokens * 2 // 3, steps * tokens),
        first_step=0,
        last_step=steps,
        first_tokens=0,
        sequence_length=LENGTH,
        tokens_per_step=tokens,
        num_micro_batches=1,
        checkpoint_every_steps=steps,
        expert_parallel_size=1,
        folder=base / "run",
    )
    plan.folder.mkdir(exist_ok=True)
    train(plan, batches, Silent())
    dist.destroy_process_group()


def behind(first_id: int, targets: torch.Tensor) -> torch.Tensor:
    """The inputs of `targets` [B, T]: `first_id`, and each target but the last."""
    return torch.cat([torch.full((len(targets), 1), first_id), targets[:, :-1]], dim=1)


# ---------------------------------------------------------------- reading


@torch.inference_mode()
def nats_read(reader: Reader, sinks: int | None) -> np.ndarray:
    """Of each token in turn."""
    torch.set_num_threads(1)
    model = ArcticModel.from_pretrained(reader.checkpoint).eval()
    if sinks is None:
        return nats_without_window(model, reader)
    stream, nats = Stream(model, StreamWindow(reader.size - sinks, sinks)), []
    for number in range(reader.num_blocks):
        before = reader.ids(number - 1)[-1:] if number else torch.tensor([reader.first_id])
        ids = torch.cat([before, reader.ids(number)])
        for inputs, targets in zip(ids[:-1].split(PIECE), ids[1:].split(PIECE), strict=True):
            nats.append(token_nll(stream.read(inputs), targets))
    return torch.cat(nats).numpy()


def nats_without_window(model: ArcticModel, reader: Reader) -> np.ndarray:
    """One pass: each token sees all before it, at positions that go on and on."""
    targets = torch.cat([reader.ids(number) for number in range(-(-reader.unlimited // reader.block))])
    [hidden] = model.hidden_states(behind(reader.first_id, targets[None])).hidden
    pieces = zip(hidden.split(PIECE), targets.split(PIECE), strict=True)
    return torch.cat([token_nll(model.lm_head(some), its_targets) for some, its_targets in pieces]).numpy()


@torch.inference_mode()
def nats_of_twin(reader: Reader) -> float:
    """Mean over a block that is cut into sequences without memory of one another."""
    torch.set_num_threads(1)
    model = ArcticModel.from_pretrained(reader.checkpoint).eval()
    sequences = torch.from_numpy(reader.passages.reshape(-1, reader.size)).split(PIECE // reader.size)
    nats = [token_nll(model(behind(reader.first_id, some)), some) for some in sequences]
    return float(torch.cat(nats).mean())


def by_block(nats: np.ndarray, block: int) -> list[float]:
    """Means of whole blocks."""
    means: list[float] = nats[: len(nats) // block * block].reshape(-1, block).mean(1).tolist()
    return means


# ---------------------------------------------------------------- writing


def written(reader: Reader, tokenizer_folder: Path, num_streams: int, size: Size) -> list[Slice]:
    """Write as the server does: its engine, its cache, and ids drawn from the model's own probabilities."""
    torch.set_num_threads(1)
    model, tokenizer = ArcticModel.from_pretrained(reader.checkpoint).eval(), TextTokenizer(tokenizer_folder)
    decoder = StreamDecoder(model, StreamWindow(reader.size - NUM_SINKS, NUM_SINKS))
    engine = Engine(decoder, decode=tokenizer.decode, max_batch=num_streams)
    prompts = [[reader.first_id, *ids] for ids in reader.passages.reshape(-1, PROMPT)[:num_streams].tolist()]
    length = size.new_tokens // num_streams
    requests = [
        Request(prompt, length, Sampling(temperature=1.0, seed=str(number))) for number, prompt in enumerate(prompts)
    ]
    streams = [engine.add(request) for request in requests]
    total, slices = 0, []
    # The first step reads the prompts.
    engine.step()
    for count in range(size.timed, size.new_tokens + 1, size.timed):
        before, began = total, (time.process_time(), time.perf_counter())
        while (total := sum(len(stream.ids) for stream in streams)) < count:
            engine.step()
            for stream in streams:
                stream.text.take()
        cpu_s, clock_s = time.process_time() - began[0], time.perf_counter() - began[1]
        peak_mb = peak_resident_bytes() / 2**20
        slices.append(Slice((total - before) / cpu_s, (total - before) / clock_s, peak_mb, answers_mb(streams)))
    return slices


def answers_mb(streams: Sequence[Completion]) -> float:
    """Memory of the answers, which are returned at the end: a number, and its address in two lists, for each token."""
    lists = sum(2 * sys.getsizeof(stream.ids) for stream in streams)
    return (lists + sum(sys.getsizeof(token) for stream in streams for token in stream.ids)) / 2**20


# ---------------------------------------------------------------- the figure


def drawn(outcomes: Sequence[Outcome]) -> Figure:
    """A panel for each model."""
    figure = Figure(figsize=(CARD_INCHES[0] * len(outcomes), CARD_INCHES[1]))
    panels = figure.subplots(1, len(outcomes), squeeze=False)[0]
    for axes, outcome in zip(panels, outcomes, strict=True):
        draw_panel(axes, outcome)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SINKS) + 1, fontsize=8)
    return figure


def draw_panel(axes: Axes, outcome: Outcome) -> None:
    reader = outcome.reader
    for (name, nats), colour in zip(outcome.nats.items(), COLOURS, strict=False):
        # Without a window fewer tokens are read: points of whole blocks would hide when the model fails.
        block = reader.block if SINKS[name] is not None else max(len(nats) // 16, PASSAGE)
        means = by_block(nats, block)
        # Wide and pale: another curve may lie on it.
        style: Any = {"linewidth": 5, "alpha": 0.5} if name == OURS else {"marker": "o", "markersize": 3}
        axes.plot(np.arange(1, len(means) + 1) * block, means, color=colour, label=name, **style)
    axes.axhline(outcome.twin, color=INK, linewidth=0.9, linestyle=":", label="cut into sequences")
    axes.set(xlabel="tokens read", ylabel="nats per token", title=reader.name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


if __name__ == "__main__":
    main()
