"""The share of the experts' exchanges that hides behind the dense path, forward and backward, and the time that it
saves.

Two gloo workers with half of the experts each run four Arctic layers. The wire is slow on purpose: rows arrive a delay
after the later of the two workers launched. The same passes run in the serial order, which waits for every exchange at
its launch, and in ours; outputs and gradients must be equal to the bit. The hidden share is what training logs as
`train/comm_hidden_frac`: waiting for the other worker, who may be late, is counted separately.

With a CUDA device one worker sends its rows to itself through pinned memory of the host: real bytes over real copy
engines in parallel to the kernels, a proxy for a network.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from harness import arguments, machine, report
from torch import Tensor

from arctic_model.config import ArcticConfig
from arctic_model.kernels.comm_stream import OverlapStatistics, overlap_statistics
from arctic_model.model import ArcticModel
from arctic_model.moe.dispatch import ExpertGroup

DELAYS_MS = (0, 10, 20, 30)
QUICK_DELAYS_MS = (10,)
GOAL = 0.95
SEQUENCES, LENGTH = 4, 256
CPU_LAYERS = ArcticConfig(
    vocab_size=512,
    hidden_size=640,
    num_layers=4,
    num_heads=10,
    num_kv_heads=2,
    num_experts=8,
    expert_size=448,
    max_positions=LENGTH,
)
GPU_LENGTH = 4096
GPU_LAYERS = ArcticConfig(
    vocab_size=512,
    hidden_size=7168,
    num_layers=2,
    num_heads=56,
    num_kv_heads=8,
    num_experts=16,
    expert_size=4864,
    max_positions=GPU_LENGTH,
)
"""Arctic's own layer, with as many experts as one card holds with it."""
ALL_TO_ALL = dist.all_to_all_single
Exchange = Callable[..., Any]


class SlowWire:
    """All-to-alls whose rows arrive `delay_s` after the last worker launched. The counts of rows are not delayed: the
    delay represents their volume."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._arriving: SimpleQueue[SlowWork] = SimpleQueue()
        threading.Thread(target=self._deliver, daemon=True).start()

    def exchange(self, received: Tensor, *others: Any, **options: Any) -> Any:
        work = ALL_TO_ALL(received, *others, **options)
        return SlowWork(work, self.delay_s, self._arriving) if received.dim() == 2 else work

    def exchange_and_wait(self, *others: Any, **options: Any) -> Any:
        """The serial order."""
        work = self.exchange(*others, **options)
        work.wait()
        return work

    def _deliver(self) -> None:
        """Notify each exchange when its rows are here: they come in the order in which they were sent."""
        while True:
            work = self._arriving.get()
            time.sleep(max(0.0, work.due - time.perf_counter()))
            work.landed(None)


class SlowWork:
    """Replaces the handle that torch returns, and its future."""

    def __init__(self, work: Any, delay_s: float, arriving: "SimpleQueue[SlowWork]") -> None:
        self._work = work
        self._delay_s = delay_s
        self._arriving = arriving
        self._exchanged = threading.Event()
        self.landed: Callable[[Any], None] = _nobody_asked
        work.get_future().add_done_callback(self._note)

    def wait(self) -> None:
        self._work.wait()
        self._exchanged.wait()
        time.sleep(max(0.0, self.due - time.perf_counter()))

    def get_future(self) -> "SlowWork":
        return self

    def add_done_callback(self, landed: Callable[[Any], None]) -> None:
        self.landed = landed

    def _note(self, _: Any) -> None:
        self.due = time.perf_counter() + self._delay_s
        self._exchanged.set()
        self._arriving.put(self)


def _nobody_asked(_: Any) -> None:
    """The serial order does not ask when rows arrive: it blocks until they do."""


class Loopback:
    """The exchange of one GPU with itself, through pinned memory of the host, on the stream that it is launched on."""

    def __init__(self) -> None:
        self._pinned: dict[torch.Size, list[Tensor]] = {}
        self._turn = 0

    def exchange(self, received: Tensor, sent: Tensor, *_: Any, **__: Any) -> "Loopback":
        if not sent.is_cuda:
            received.copy_(sent)
            return self
        pinned = self._buffer(sent)
        pinned.copy_(sent, non_blocking=True)
        received.copy_(pinned, non_blocking=True)
        return self

    def exchange_and_wait(self, *others: Any, **options: Any) -> "Loopback":
        """The serial order: the next kernel waits for the copies."""
        self.exchange(*others, **options)
        if others[0].is_cuda:
            torch.cuda.default_stream().wait_stream(torch.cuda.current_stream())
        return self

    def wait(self) -> None:
        """The stream keeps the order."""

    def get_future(self) -> "Loopback":
        """A CPU's copy is over when the exchange has begun."""
        return self

    def add_done_callback(self, landed: Callable[[Any], None]) -> None:
        landed(None)

    def _buffer(self, sent: Tensor) -> Tensor:
        rows = sent.numel() * sent.element_size()
        size = torch.Size([rows])
        if size not in self._pinned:
            self._pinned[size] = [torch.empty(rows, dtype=torch.uint8, pin_memory=True)]
        return self._pinned[size][0].view(sent.dtype).view(sent.shape)


def without_exchange(received: Tensor, sent: Tensor, *others: Any, **options: Any) -> Any:
    """No row travels: a worker computes on its own rows, the same number as would have come. Counts of rows travel."""
    if received.dim() == 1:
        return ALL_TO_ALL(received, sent, *others, **options)
    common = min(len(received), len(sent))
    received[:common].copy_(sent[:common])
    received[common:].zero_()
    return Loopback()


@dataclass
class Passes:
    """Forward and backward of the layers on one worker."""

    model: ArcticModel
    ids: Tensor
    gradient: Tensor

    @classmethod
    def of(cls, config: ArcticConfig, group: ExpertGroup, shape: tuple[int, int], device: str) -> "Passes":
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        with torch.device(device):
            model = ArcticModel(config, group, seed=0).to(dtype)
        generator = torch.Generator().manual_seed(group.rank)
        ids = torch.randint(0, config.vocab_size, shape, generator=generator).to(device)
        gradient = torch.randn(*shape, config.hidden_size, generator=generator).to(device, dtype)
        return cls(model, ids, gradient)

    def run(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None
        positions = torch.arange(self.ids.shape[1], device=self.ids.device).expand_as(self.ids)
        self.outputs = self.model.hidden_states(self.ids, positions, torch.zeros_like(self.ids)).hidden
        self.outputs.backward(self.gradient)

    def results(self) -> dict[str, Tensor]:
        gradients = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        return {"outputs": self.outputs.detach().clone()} | gradients


@dataclass
class Trial:
    """One delay: seconds of each pass in both orders and without exchanges, the exchanges of ours, and whether all bits
    of both orders were equal."""

    serial_s: list[float]
    ours_s: list[float]
    without_s: list[float]
    overlaps: list[OverlapStatistics]
    equal: bool
    num_workers: int

    @property
    def hidden(self) -> float:
        return 1 - sum(each.exposed_s for each in self.overlaps) / sum(each.wire_s for each in self.overlaps)

    @property
    def cost(self) -> float:
        """The cost of the exchanges to a pass, as a share of their time on the wire: including all work of the pass for
        them, from copies of rows to waiting for a late worker. 0 if they cost nothing, 1 if nothing hides."""
        wire_s = sum(each.wire_s for each in self.overlaps) / len(self.overlaps) / self.num_workers
        added = (ours - without for ours, without in zip(self.ours_s, self.without_s, strict=True))
        return median(added) / wire_s

    @property
    def medians(self) -> dict[str, float]:
        """Seconds of a pass by order, and the cost."""
        orders = {"serial_s": self.serial_s, "ours_s": self.ours_s, "without_s": self.without_s}
        return {name: median(seconds) for name, seconds in orders.items()} | {"cost": self.cost}


def trial(passes: Passes, serial: Exchange, ours: Exchange, repeats: int) -> Trial:
    """Both orders and none in turn, after one untimed pass of each."""
    group = passes.model.group
    result = Trial([], [], [], [], equal=True, num_workers=dist.get_world_size())
    for repeat in range(repeats + 1):
        serial_s = timed(passes, serial)
        expected = passes.results()
        group.comm_stream.take_finished()
        ours_s = timed(passes, ours)
        timings = [handle.timing for handle in group.comm_stream.take_finished()]
        result.equal &= all(torch.equal(tensor, expected[name]) for name, tensor in passes.results().items())
        without_s = timed(passes, without_exchange)
        group.comm_stream.take_finished()
        overlap = overlap_statistics(timings, group.process_group, passes.ids.device)
        if repeat and overlap:
            result.serial_s.append(serial_s)
            result.ours_s.append(ours_s)
            result.without_s.append(without_s)
            result.overlaps.append(overlap)
    return result


def timed(passes: Passes, exchange: Exchange) -> float:
    with patch.object(dist, "all_to_all_single", exchange):
        dist.barrier()
        started = time.perf_counter()
        passes.run()
        if passes.ids.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started


def worker(rank: int, rendezvous: str, delays_ms: Sequence[int], repeats: int, results: Any) -> None:
    torch.set_num_threads(1)
    with process_group("gloo", rendezvous, rank, 2):
        passes = Passes.of(CPU_LAYERS, ExpertGroup(2, rank, dist.group.WORLD), (SEQUENCES, LENGTH), "cpu")
        wire = SlowWire()
        for delay_ms in delays_ms:
            wire.delay_s = delay_ms / 1000
            result = trial(passes, wire.exchange_and_wait, wire.exchange, repeats)
            results.put((delay_ms, result))


@contextmanager
def process_group(backend: str, rendezvous: str, rank: int, world: int) -> Iterator[None]:
    dist.init_process_group(backend, store=dist.FileStore(str(rendezvous), world), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def on_two_processes(delays_ms: Sequence[int], repeats: int) -> dict[int, Trial]:
    """Both workers' trials by delay; the slower worker's seconds count, and all bits of both."""
    spawning = multiprocessing.get_context("spawn")
    results: Any = spawning.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        arguments_ = (str(Path(folder) / "rendezvous"), delays_ms, repeats, results)
        workers = multiprocessing.start_processes(worker, arguments_, nprocs=2, join=False, start_method="spawn")
        result: dict[int, Trial] = {}
        for _ in range(2 * len(delays_ms)):
            delay_ms, mine = results.get()
            other = result.get(delay_ms, mine)
            result[delay_ms] = Trial(
                [max(pair) for pair in zip(mine.serial_s, other.serial_s, strict=True)],
                [max(pair) for pair in zip(mine.ours_s, other.ours_s, strict=True)],
                [max(pair) for pair in zip(mine.without_s, other.without_s, strict=True)],
                mine.overlaps,
                mine.equal and other.equal,
                mine.num_workers,
            )
        while not workers.join():
            pass
    return result


def on_one_device(device: str, repeats: int) -> Trial:
    """Arctic's own layer in bfloat16 on a GPU, exchanging with itself; on a CPU a small one, whose exchange is a copy
    that nothing hides."""
    backend, config, length = ("nccl", GPU_LAYERS, GPU_LENGTH) if device == "cuda" else ("gloo", CPU_LAYERS, LENGTH)
    with tempfile.TemporaryDirectory() as folder, process_group(backend, f"{folder}/rendezvous", 0, 1):
        loopback = Loopback()
        passes = Passes.of(config, ExpertGroup(2, 0, dist.group.WORLD), (1, length), device)
        return trial(passes, loopback.exchange_and_wait, loopback.exchange, repeats)


def row(name: str, result: Trial) -> str:
    serial, ours = (median(seconds) * 1000 for seconds in (result.serial_s, result.ours_s))
    wire, exposed, skew = (sum(column) / len(result.overlaps) * 1000 for column in zip(*result.overlaps, strict=True))
    without = median(result.without_s) * 1000
    return (
        f"| {name} | {serial:,.0f} | {ours:,.0f} | {without:,.0f} | {wire:,.1f} | {exposed:,.1f} | {skew:,.1f} | "
        f"{result.hidden:.1%} | {result.cost:.2f} | {'yes' if result.equal else 'NO'} |"
    )


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    delays_ms, repeats = (QUICK_DELAYS_MS, 2) if options.quick else (DELAYS_MS, 12)
    print(machine("torch"))
    print(
        f"{CPU_LAYERS.num_layers} layers of width {CPU_LAYERS.hidden_size}, {SEQUENCES} x {LENGTH} tokens a worker, "
        f"two workers of one thread, {4 * CPU_LAYERS.num_layers} exchanges of rows a pass; medians of {repeats}.\n"
        "Wire, exposed and skew are sums over both workers and all exchanges of a pass, means of the passes.\n"
    )
    print(
        "| delay | serial, ms | ours, ms | without, ms | wire, ms | exposed, ms | skew, ms | hidden | cost "
        f"| equal bits |\n|{'---|' * 10}"
    )
    trials = on_two_processes(delays_ms, repeats)
    for delay_ms, result in sorted(trials.items()):
        print(row(f"{delay_ms} ms", result), flush=True)
    gpu_trials: Mapping[str, Trial] = {}
    if torch.cuda.is_available():
        gpu_trials = {f"loopback on {torch.cuda.get_device_name()} (proxy)": on_one_device("cuda", repeats)}
        for name, result in gpu_trials.items():
            print(row(name, result))
    if not all(actual.equal for actual in (*trials.values(), *gpu_trials.values())):
        sys.exit("the two orders differ")
    ten = trials[10]
    report(
        "overlap",
        ten.hidden,
        {f"hidden at {delay} ms": actual.hidden for delay, actual in trials.items() if delay},
        "share of the wire time hidden, forward and backward, delay 10 ms",
        ten.hidden / GOAL,
        f"at least {GOAL:.0%} hidden where the window is longer than the delay",
    )


if __name__ == "__main__":
    main()
